# documents for administrators who write policies
dist_doc_DATA += doc/tutorial.md doc/policy.md
