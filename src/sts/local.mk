libsallyport_a_SOURCES += \
	src/sts/fetch.c src/sts/fetch.h \
	src/sts/find.c \
	src/sts/sts.h
