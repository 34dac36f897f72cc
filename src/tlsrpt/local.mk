libsallyport_a_SOURCES += \
	src/tlsrpt/report.c src/tlsrpt/report.h
