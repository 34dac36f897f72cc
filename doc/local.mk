# manual pages and other documents
dist_man_MANS = doc/gateway.lua.5 doc/sallyport.1 doc/sallyportd.8
EXTRA_DIST += doc/gateway.lua.5.in
examplesdir = $(docdir)/examples
dist_examples_DATA = doc/examples/gateway.lua doc/examples/policy.lua doc/examples/sallyport.service
