libsallyport_a_SOURCES += \
	src/ctl/cli.c src/ctl/cli_int.h \
	src/ctl/cli_conf.c \
	src/ctl/cli_queue.c \
	src/ctl/client.c \
	src/ctl/ctl.c src/ctl/ctl.h src/ctl/ctl_int.h \
	src/ctl/http.c \
	src/ctl/query.c
