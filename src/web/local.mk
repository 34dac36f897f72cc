libsallyport_a_SOURCES += \
	src/web/loop.c \
	src/web/lookup.c \
	src/web/web.h
