# conf: its sources, and below its unit tests
