# queue: its sources, and below its unit tests
