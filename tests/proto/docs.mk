# The code in the documents is loaded, the reference is compared with the source.
TESTS += tests/proto/docs_blocks.py tests/proto/tutorial.py
EXTRA_DIST += tests/proto/docs_blocks.py tests/proto/tutorial.py
