#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

void
err_set(struct err *err, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
}

void
err_prefix(struct err *err, const char *fmt, ...)
{
	char old[sizeof err->text];
	va_list ap;
	size_t left;
	int n;

	if (err == NULL)
		return;
	memcpy(old, err->text, sizeof old);
	va_start(ap, fmt);
	n = vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n + 2 >= sizeof err->text)
		return;
	memcpy(err->text + n, ": ", 2);
	left = sizeof err->text - (size_t)n - 2;
	memcpy(err->text + n + 2, old, left);
	err->text[sizeof err->text - 1] = '\0';
}

/* A clean end (F-8): what was acknowledged is on disk, and whoever started the daemon starts it
 * again. Not abort(): nothing is wrong with the program, and a core dump would hold mail. Not
 * exit(): its handlers would want memory too. */
_Noreturn void
out_of_memory(size_t n)
{
	char text[80];
	int len = snprintf(text, sizeof text, "out of memory (%zu bytes wanted), ending\n", n);

	(void)!write(2, text, (size_t)len);
	_exit(EXIT_NO_MEMORY);
}

static void *
or_die(void *p, size_t n)
{
	if (p == NULL) {
		out_of_memory(n);
	}
	return p;
}

void *
xmalloc(size_t n)
{
	return or_die(malloc(n == 0 ? 1 : n), n);
}

void *
xcalloc(size_t n, size_t size)
{
	return or_die(calloc(n == 0 ? 1 : n, size), n * size);
}

void *
xrealloc(void *p, size_t n)
{
	return or_die(realloc(p, n == 0 ? 1 : n), n);
}

char *
xstrdup(const char *s)
{
	return s == NULL ? NULL : or_die(strdup(s), strlen(s));
}

char *
xstrndup(const char *s, size_t n)
{
	return or_die(strndup(s, n), n);
}

char *
xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return or_die(s, 0);
}

void
must_failed(const char *cond, const char *file, int line)
{
	/* stderr, not the log: its thread may be the one that failed. */
	fprintf(stderr, "assertion failed: %s (%s:%d)\n", cond, file, line);
	abort();
}

#ifdef FAILPOINTS
void
failpoint(const char *name)
{
	static _Atomic int passed;
	const char *want = getenv("SALLYPORT_FAILPOINT");
	const char *colon;
	size_t n;

	if (want == NULL)
		return;
	colon = strchr(want, ':');
	n = colon == NULL ? strlen(want) : (size_t)(colon - want);
	if (strlen(name) != n || strncmp(name, want, n) != 0)
		return;
	if (++passed == (colon == NULL ? 1 : atoi(colon + 1)))
		_Exit(86);
}
#endif
