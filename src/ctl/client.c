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

static json_t *
exchange(int fd, const json_t *request, struct err *err)
{
	char *text = json_dumps(request, JSON_COMPACT), *answer;
	uint32_t n = htonl((uint32_t)strlen(text));
	json_error_t je;
	json_t *j;
	int rc = move_all(fd, &n, sizeof n, true) != 0 || move_all(fd, text, strlen(text), true) != 0;

	free(text);
	if (rc != 0 || move_all(fd, &n, sizeof n, false) != 0) {
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

json_t *
ctl_call(const char *socket_path, const json_t *request, int timeout_ms, struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct timeval tv = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	json_t *j;
	int fd;

	if (strlen(socket_path) >= sizeof un.sun_path) {
		err_set(err, "%s: path too long for a socket", socket_path);
		return NULL;
	}
	strcpy(un.sun_path, socket_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof un) != 0) {
		err_set(err, "cannot reach the daemon at %s: %s%s", socket_path, strerror(errno),
		    errno == ENOENT || errno == ECONNREFUSED ? " (is sallyportd running?)" :
		    errno == EACCES ? " (run as root or as its user)" : "");
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	j = exchange(fd, request, err);
	close(fd);
	return j;
}
