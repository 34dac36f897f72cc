# documents for administrators who write policies
dist_doc_DATA += doc/tutorial.md doc/policy.md doc/policies.md doc/lua.md doc/migration.md
# for those who run it, and for those who read or change it
dist_doc_DATA += doc/evidence.md doc/journal.md doc/operations.md doc/performance.md doc/threat-model.md doc/tour.md
