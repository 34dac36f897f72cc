libsallyport_a_SOURCES += \
	src/deliver/attempt.c \
	src/deliver/conclude.c \
	src/deliver/conn.c \
	src/deliver/dane.c \
	src/deliver/deliver.c src/deliver/deliver.h src/deliver/deliver_int.h \
	src/deliver/dest.c \
	src/deliver/events.c src/deliver/events.h \
	src/deliver/grant.c \
	src/deliver/hop.c src/deliver/hop.h \
	src/deliver/login.c \
	src/deliver/notice.c \
	src/deliver/offers.c src/deliver/offers.h \
	src/deliver/outcome.c \
	src/deliver/prepare.c \
	src/deliver/record.c \
	src/deliver/routing.c src/deliver/routing.h \
	src/deliver/send.c \
	src/deliver/sign.c \
	src/deliver/tlsrpt.c
