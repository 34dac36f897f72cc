/* The other end of the control socket: one request, one answer, blocking. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/ctl.h"

#define ANSWER_MAX (64u << 20)

static int
move_all(int fd, void *p, size_t n, bool out)
{
	char *at = p;

	while (n > 0) {
		ssize_t k = out ? send(fd, at, n, MSG_NOSIGNAL) : recv(fd, at, n, 0);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -1;
		at += k;
		n -= (size_t)k;
	}
	return 0;
}

static bool
say(int fd, const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);
	uint32_t n = htonl((uint32_t)strlen(text));
	bool ok = move_all(fd, &n, sizeof n, true) == 0 && move_all(fd, text, strlen(text), true) == 0;

	free(text);
	return ok;
}

static json_t *
hear(int fd, struct err *err)
{
	char *answer;
	uint32_t n;
	json_error_t je;
	json_t *j;

	if (move_all(fd, &n, sizeof n, false) != 0) {
		err_set(err, "the daemon does not answer (%s)", errno == EAGAIN ? "timeout" : "connection closed");
		return NULL;
	}
	n = ntohl(n);
	if (n > ANSWER_MAX) {
		err_set(err, "the daemon's answer is too long");
		return NULL;
	}
	answer = xmalloc(n + 1);
	if (move_all(fd, answer, n, false) != 0) {
		err_set(err, "the daemon's answer was cut off");
		free(answer);
		return NULL;
	}
	j = json_loadb(answer, n, 0, &je);
	if (j == NULL)
		err_set(err, "the daemon's answer is not JSON: %s", je.text);
	free(answer);
	return j;
}

/* Descriptor, or -1. */
static int
dial(const char *socket_path, struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(socket_path) >= sizeof un.sun_path) {
		err_set(err, "%s: path too long for a socket", socket_path);
		return -1;
	}
	strcpy(un.sun_path, socket_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof un) != 0) {
		err_set(err, "cannot reach the daemon at %s: %s%s", socket_path, strerror(errno),
		    errno == ENOENT || errno == ECONNREFUSED ? " (is sallyportd running?)" :
		    errno == EACCES ? " (run as root or as its user)" : "");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

json_t *
ctl_call(const char *socket_path, const json_t *request, int timeout_ms, struct err *err)
{
	struct timeval tv = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	json_t *j = NULL;
	int fd = dial(socket_path, err);

	if (fd < 0)
		return NULL;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	if (say(fd, request))
		j = hear(fd, err);
	else
		err_set(err, "the daemon does not answer (connection closed)");
	close(fd);
	return j;
}

int
ctl_follow(const char *socket_path, const json_t *request, bool (*fn)(void *arg, const json_t *result),
    void *arg, struct err *err)
{
	int fd = dial(socket_path, err);
	bool more = true;

	if (fd < 0)
		return -1;
	if (!say(fd, request)) {
		err_set(err, "the daemon does not answer (connection closed)");
		more = false;
	}
	while (more) {
		json_t *j = hear(fd, err);
		const json_t *result = json_object_get(j, "result");

		if (j != NULL && result == NULL)
			err_set(err, "%s", json_string_value(json_object_get(j, "error")));
		more = result != NULL && fn(arg, result);
		json_decref(j);
	}
	close(fd);
	return err->text[0] == '\0' ? 0 : -1;
}
