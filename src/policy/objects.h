/* What the files of the objects share (obj_*.c): one table of classes over the handles of
 * policy_int.h. A class names its fields and methods once; reading, writing, the nearest name for a
 * typo and staleness are done in objects.c for all of them. */
#ifndef POLICY_OBJECTS_H
#define POLICY_OBJECTS_H

#include "policy/policy_int.h"

/* A checked handle: its run executes, its subject is there. */
struct obj {
	struct policy_run *r;
	struct policy_subject *s;
	enum policy_object kind;
	unsigned index;
};
struct obj_field {
	const char *name;
	/* Pushes one value. */
	void (*get)(lua_State *L, const struct obj *o);
	/* Takes the value at index 3. NULL: read-only. */
	void (*set)(lua_State *L, const struct obj *o);
	/* Instead of both: a function with the handle as its first argument. */
	lua_CFunction method;
};
struct obj_class {
	const char *what;			/* "message" */
	const struct obj_field *fields;		/* ends with a NULL name */
	/* Keys that are no fields (at index 2): pushes one value, or returns false. NULL: none. */
	bool (*index)(lua_State *L, const struct obj *o);
	bool (*newindex)(lua_State *L, const struct obj *o);	/* key 2, value 3 */
	lua_Integer (*len)(const struct obj *o);
	/* The i-th pair, from 0: pushes key and value, or returns false. */
	bool (*pair)(lua_State *L, const struct obj *o, size_t i);
	void (*tostring)(lua_State *L, const struct obj *o);
};
extern const struct obj_class
    obj_session, obj_listener, obj_peer, obj_counts, obj_session_tls, obj_client_cert,
    obj_message, obj_params, obj_rcpt, obj_rcpt_params, obj_rcpts,
    obj_hop, obj_hop_host, obj_hop_sts, obj_hop_tlsa, obj_hop_tls, obj_route,
    obj_result, obj_bounce, obj_bounce_rcpt, obj_list,
    obj_set, obj_duties, obj_vars, obj_ctx, obj_tick, obj_session_auth, obj_cred,
    obj_report, obj_report_rcpts, obj_report_rcpt;

/* For whoever goes over all of them; NULL where a number stands for none. */
const struct obj_class *obj_class_at(unsigned kind);
/* The handle at arg 1 of a method, of this kind. */
struct obj obj_check(lua_State *L, enum policy_object kind);
struct msg_rcpt *obj_rcpt_of(lua_State *L, const struct obj *o);	/* raises when out of range */
const struct policy_hop *obj_hop_of(lua_State *L, const struct obj *o);

/* Pushing. */
void obj_push_string(lua_State *L, const char *s);		/* NULL: nil */
void obj_push_time(lua_State *L, int64_t ms);		/* seconds; 0: nil */
void obj_push_address(lua_State *L, const char *address);	/* "user@domain", "" null */
void obj_push_domain(lua_State *L, const char *domain);	/* NULL or "": nil */

/* Arguments. */
/* The address at `arg`, a string or an address value, checked and normalised; "" when null. The
 * string is pushed to keep it alive. With `may_be_null`, "" and "<>" are the null sender. */
const char *obj_check_address(lua_State *L, int arg, const char *api, bool may_be_null);
/* NULL, or the text and domain of an address or domain value. */
const char *obj_address_peek(lua_State *L, int arg, size_t *n_out);
const char *obj_domain_peek(lua_State *L, int arg, size_t *n_out);
/* [A-Za-z0-9._:-]{1,64}; raises. */
const char *obj_check_token(lua_State *L, int arg, const char *api, const char *what);
/* Raises unless the hook may change the message. */
struct msg *obj_check_edit(lua_State *L, const struct obj *o, const char *what);
/* Shared by message, rcpt and hop: opts at `arg`. */
void obj_do_require_tls(lua_State *L, int arg, const char *api, struct policy_run *r, duty_mask *mask,
    struct msg *msg);
/* note(text) of every object. */
int obj_note(lua_State *L);
#define TAGS_MAX 64
#define TAG_BYTES 64

/* message:parts(): a list of tables. `whole`: the body is all of it. */
int obj_push_parts(lua_State *L, struct slice header, struct slice body, bool whole);
void obj_parts_register(lua_State *L);
void obj_address_register(lua_State *L);	/* metatables; gw on top */
void obj_set_register(lua_State *L);	/* gw.set */
/* Name of the i-th member of a set, NULL past the end. */
const char *obj_set_member(const struct obj *o, size_t i);
/* The bits of a duties view; *with_sources false when only bits are known. */
duty_mask obj_duties_mask(const struct obj *o, bool *with_sources);
/* The notice is about mail that owes REQUIRETLS. */
bool obj_bounce_is_tagged(const struct obj *o);
/* Raises when this hook has no content. */
const struct content *obj_content_of(lua_State *L, const struct obj *o, const char *what);
int message_body_chunks(lua_State *L);	/* await_body.c */
void obj_chunks_register(lua_State *L);
int bounce_redact_text(lua_State *L);	/* obj_notice.c */
int bounce_attach(lua_State *L);
void obj_notice_register(lua_State *L);
/* What a bounce's recipients and redact set are. */
const char *obj_redact_member(const struct obj *o, size_t i);

#endif
