/* What the world did, as a sentence for a person: which file, line or field, and what to do. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

struct err {
	char text[1024];
};

/* NULL `err` is fine. The text is cut, never overflowed. */
void err_set(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "prefix: " in front of what is there. */
void err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
