libsallyport_a_SOURCES += \
	src/rehearsal/bench.c \
	src/rehearsal/book.c \
	src/rehearsal/book_sql.c \
	src/rehearsal/bundle.c \
	src/rehearsal/cover.c \
	src/rehearsal/explain.c \
	src/rehearsal/guest.c \
	src/rehearsal/peer.c \
	src/rehearsal/sync.c \
	src/rehearsal/world.c src/rehearsal/world.h src/rehearsal/world_int.h \
	src/rehearsal/rehearsal.h \
	src/rehearsal/lua_assert.c \
	src/rehearsal/lua_call.c \
	src/rehearsal/lua_env.c \
	src/rehearsal/lua_int.h \
	src/rehearsal/lua_mail.c \
	src/rehearsal/lua_sql.c \
	src/rehearsal/repl.c \
	src/rehearsal/runner.c \
	src/rehearsal/say.c
