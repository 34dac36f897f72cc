/* What the files of conf/ share. gateway.lua becomes a JSON tree (eval.c), the tree becomes a
 * struct conf by way of the schema table (schema.c, read.c, types.c, special.c, nets.c), and the
 * struct is checked for what one field alone cannot show (check.c). Dump, schema listing and
 * manual page walk the same table the other way. */
#ifndef CONF_INT_H
#define CONF_INT_H

#include <jansson.h>

#include "conf/conf.h"
#include "conf/settings.h"

/* ---- Problems: one line each, all of them in one go ---- */
#define PROBLEMS_MAX 200
struct problems {
	struct buf errors, warnings;
	unsigned nerrors;
};
void problems_init(struct problems *p);
void problems_fini(struct problems *p);
void problem_error(struct problems *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void problem_warn(struct problems *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- The schema ---- */
enum setting_type {
	T_SECTION,	/* fixed settings below it, in the same struct */
	T_MAP,		/* named items, each a struct of its own, sorted by name */
	T_LIST,		/* items in order */
	T_REFUSED,	/* belongs to a later version; text says what to do */
	T_BOOL, T_NUMBER, T_PERCENT, T_SIZE, T_DURATION, T_DURATIONS,
	T_CHOICE,	/* stored as its place in `choices` */
	T_VERSION, T_WORKERS,
	T_TEXT, T_TEXTS,	/* a text or a list of them, checked by `kind` */
	T_HTTP, T_SECRET, T_PASSWORD, T_NETS, T_NETWORKS, T_STUBS, T_LEVELS, T_OPTIONS, T_VIA, T_RELAXES, T_DATE,
	T_COLUMNS,
	T_TYPES
};
#define S_REQUIRED 1u	/* missing is an error */
#define S_SOME 2u	/* a list may not be empty */
#define S_POINTERS 4u	/* map items are held by pointer (routes) */
#define S_IGNORED 8u	/* checked, not stored: stands for other settings */
#define S_DOMAINS 16u	/* map items are named by a domain; brought to A-labels */

struct reader;
struct setting;
struct text_kind {
	const char *name;		/* in the documentation: "path" */
	const char *expects;		/* "a path" */
	/* The canonical text (heap), or NULL. `err` is empty when `expects` says it all. */
	char *(*conv)(const struct reader *r, const char *text, struct err *err);
};
struct setting {
	const char *path;		/* "listeners.*.max_size" */
	enum setting_type type;
	/* As JSON, so that it goes the same way as what is written; "(...)" is prose for one that
	 * is worked out from other settings; NULL: none. */
	const char *dflt;
	int64_t min, max;		/* numbers, octets, milliseconds; max 0: no limit */
	const char *const *choices;	/* NULL-terminated */
	const struct text_kind *kind;
	const char *text;		/* one sentence */
	size_t at, size;		/* in the struct of its section */
	size_t n_at;			/* of the count; 0 none */
	size_t item;			/* T_MAP, T_LIST: size of one */
	unsigned flags;
	/* Called when all of a section or item was read; r->path names it. */
	void (*after)(struct reader *r, void *base, const json_t *given);
};
extern const struct setting conf_schema[];
extern const size_t conf_schema_n;
extern const char *const conf_level_names[];	/* enum tls_level */
extern const char *const conf_column_types[];	/* enum column_type */
extern const char *const conf_handler_levels[];	/* POLICY_ADVISORY ... */
/* The part of s->path below `prefix` when it is directly below, else NULL. */
const char *setting_below(const struct setting *s, const char *prefix);
bool setting_is_for_start(const char *path);	/* of the schema; settings.c */
const char *setting_type_name(const struct setting *s);	/* "duration", "list of paths" */

/* ---- Reading ---- */
struct reader {
	struct conf *c;
	struct problems *p;
	const char *dir;
	bool check_files;
	char path[512];			/* where we are: "listeners.inbound.tls" */
};
/* Lengthens the path by a name or a place in a list; gives back what path_pop wants. */
size_t path_push(struct reader *r, const char *key);
size_t path_push_index(struct reader *r, size_t i);
void path_pop(struct reader *r, size_t mark);
void path_join(char *dst, size_t size, const char *key);	/* the same, for any path */
void reader_error(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void reader_expects(struct reader *r, const char *expects, const json_t *got);
/* The nearest of the names, NULL when none is near. `names` is NULL-terminated. */
const char *nearest_name(const char *word, const char *const *names);

/* One for each type: reads a value into the struct at base (false, with the problem told, when it
 * does not fit; then nothing was stored), shows it, frees it. */
struct type_ops {
	const char *name;
	bool (*set)(struct reader *r, const struct setting *s, void *base, const json_t *v);
	json_t *(*get)(const struct setting *s, const void *base);
	void (*fini)(const struct setting *s, void *base);
};
extern const struct type_ops conf_types[T_TYPES];
void read_section(struct reader *r, const char *prefix, void *base, const json_t *given);
json_t *dump_section(const char *prefix, const void *base);
void free_section(const char *prefix, void *base);
static inline void *
setting_at(const struct setting *s, const void *base)
{
	return (char *)base + s->at;
}

/* The types that are more than a number or a text (special.c, nets.c). */
bool http_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *http_get(const struct setting *s, const void *base);
void http_fini(const struct setting *s, void *base);
bool secret_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *secret_get(const struct setting *s, const void *base);
void secret_fini(const struct setting *s, void *base);
bool password_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
bool nets_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *nets_get(const struct setting *s, const void *base);
void nets_fini(const struct setting *s, void *base);
bool networks_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *networks_get(const struct setting *s, const void *base);
void networks_fini(const struct setting *s, void *base);
bool stubs_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *stubs_get(const struct setting *s, const void *base);
void stubs_fini(const struct setting *s, void *base);
bool levels_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *levels_get(const struct setting *s, const void *base);
void levels_fini(const struct setting *s, void *base);
bool options_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *options_get(const struct setting *s, const void *base);
void options_fini(const struct setting *s, void *base);
bool via_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *via_get(const struct setting *s, const void *base);
void via_fini(const struct setting *s, void *base);
bool columns_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *columns_get(const struct setting *s, const void *base);
void columns_fini(const struct setting *s, void *base);
bool relaxes_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *relaxes_get(const struct setting *s, const void *base);
bool date_set(struct reader *r, const struct setting *s, void *base, const json_t *v);
json_t *date_get(const struct setting *s, const void *base);

/* ---- Values ---- */
extern const struct text_kind kind_plain, kind_path, kind_host, kind_domain, kind_pattern,
    kind_mailbox, kind_from, kind_language, kind_pin, kind_ip, kind_server, kind_bind, kind_name,
    kind_field, kind_column, kind_origin, kind_zone, kind_anchor, kind_user, kind_cert_name, kind_report_uri,
    kind_route_host;
/* A text or a list of them to a NULL-terminated list; false with the problem told. */
bool read_texts(struct reader *r, const struct text_kind *k, const json_t *v, char ***out,
    size_t *n_out);
json_t *texts_to_json(char *const *v, size_t n);
void texts_free(char **v, size_t n);
/* Lower-case A-labels without final dot; false when it is not a host name. */
bool host_to_ascii(char dst[256], const char *text);
bool name_is_ok(const char *name);	/* of a listener, route, identity, grant, network */
char *path_below(const char *dir, const char *path);
bool size_parse(const char *text, uint64_t *out);
void size_format(char *dst, size_t size, uint64_t v);
void cidr_format(char *dst, size_t size, const struct net_cidr *c);
/* "host", "host:25", "[2001:db8::1]:25"; *port 0 when none is given. */
bool route_host_parse(struct route_host *h, const char *text, struct err *err);
char *route_host_text(const struct route_host *h);

/* ---- The rest ---- */
void listener_after(struct reader *r, void *item, const json_t *given);
void route_after(struct reader *r, void *item, const json_t *given);
void grant_after(struct reader *r, void *item, const json_t *given);
void tlsrpt_after(struct reader *r, void *base, const json_t *given);
void table_after(struct reader *r, void *item, const json_t *given);
void credential_after(struct reader *r, void *item, const json_t *given);
void tls_after(struct reader *r, void *base, const json_t *given);
void sts_after(struct reader *r, void *item, const json_t *given);
void conf_check_sts(struct reader *r);
void conf_check_invariants(struct reader *r);
void invariant_after(struct reader *r, void *item, const json_t *given);
void conf_check_sts_files(struct reader *r);
void check_identities(struct reader *r, char *const *names, size_t n);	/* each is in tls.identities */
bool same_address(const char *x, const char *y);	/* of two bind texts */
void conf_complete(struct conf *c);		/* defaults that depend on other settings */
void conf_check(struct reader *r);		/* cross references */
void conf_check_files(struct reader *r);
void conf_check_auth(struct reader *r, const struct route *route);	/* credentials.c, as what follows */
void conf_check_credential_files(struct reader *r);
void conf_complete_credentials(struct conf *c);
void conf_free_credentials(struct conf *c);
bool secret_is_for_everybody(const struct conf_secret *k);
void conf_index_domains(struct conf *c, struct problems *p);
void conf_free_domain_index(struct conf *c);
void conf_index_invariants(struct conf *c);
void conf_free_invariant_index(struct conf *c);

/* Evaluates the text of gateway.lua. NULL when `p` got an error. */
json_t *conf_eval(const char *text, size_t n, const char *name, struct problems *p);
#define EVAL_INSTRUCTIONS 10000000
#define EVAL_MEMORY (64u << 20)
/* conf_load without the file: `name` is for messages, relative paths are below `dir`. */
struct conf *conf_load_text(const char *text, size_t n, const char *name, const char *dir,
    bool check_files, char **errors);
/* The same for a tree, such as conf_dump writes. */
struct conf *conf_load_json(const json_t *root, const char *dir, bool check_files, char **errors);

#endif
