# Unit tests are listed by the folder they test, in src/*/local.mk; this is what they share.
UNIT_LIBS = libsallyport.a $(DEPS_LIBS) $(CHECK_LIBS)
AM_CPPFLAGS += -I$(srcdir)/tests/unit $(CHECK_CFLAGS)
EXTRA_DIST += tests/unit/unit.h
