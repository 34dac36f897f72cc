libsallyport_a_SOURCES += \
	src/gateway/daemon.c src/gateway/gateway.h src/gateway/gateway_int.h \
	src/gateway/privileges.c src/gateway/privileges.h \
	src/gateway/reception.c src/gateway/reception.h \
	src/gateway/sessions.c \
	src/gateway/setup.c \
	src/gateway/worker.c
