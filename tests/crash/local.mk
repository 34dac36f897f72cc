# Kill -9, named points, power cuts, syncs counted, the queue against a model.
