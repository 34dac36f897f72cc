/* Between check.c, which loads and reads bytecode, and check_lints.c, which looks at it. */
#ifndef POLICY_CHECK_INT_H
#define POLICY_CHECK_INT_H

#include "policy/policy_int.h"

/* Lua 5.4 opcodes and instruction fields (lopcodes.h is not installed). */
enum {
	OP_MOVE = 0, OP_GETUPVAL = 9, OP_SETUPVAL = 10, OP_GETTABUP = 11, OP_GETTABLE = 12, OP_GETFIELD = 14,
	OP_SETFIELD = 18, OP_NEWTABLE = 19, OP_SELF = 20, OP_ADDI = 21, OP_SHR = 45, OP_UNM = 49,
	OP_CONCAT = 53, OP_TESTSET = 67, OP_CALL = 68, OP_TAILCALL = 69, OP_TFORPREP = 75, OP_TFORCALL = 76, OP_CLOSURE = 79,
	OP_VARARG = 80, OP_VARARGPREP = 81
};
#define INS_OP(i) ((i) & 127)
#define INS_A(i) ((i) >> 7 & 255)
#define INS_K(i) ((i) >> 15 & 1)
#define INS_B(i) ((i) >> 16 & 255)
#define INS_C(i) ((i) >> 24 & 255)
#define INS_BX(i) ((i) >> 15)

struct upvalue {
	bool in_stack;
	unsigned index;
	char *name;
};
struct proto {
	char *source;		/* of the file, without '@' */
	int line;
	unsigned nparams;
	uint32_t *code;
	size_t ncode;
	char **k;		/* string constants, NULL for others */
	size_t nk;
	struct upvalue *up;
	size_t nup;
	struct proto **sub;
	size_t nsub;
	int *lines;		/* for each instruction */
};

const char *check_constant(const struct proto *f, unsigned i);	/* "" when it is no text */
/* The name when instruction i reads global `name`, else NULL; the x when i and i + 1 read gw.x. */
const char *check_global_read(const struct proto *f, size_t i);
const char *check_gw_read(const struct proto *f, size_t i);
enum verdict_kind check_constructor(const char *name);

/* One function of a file, each for itself. */
void check_function(struct policy_gen *g, const struct proto *f);
/* A handler: f is the function itself. */
void check_handler_arguments(struct policy_gen *g, const struct proto *f, const struct handler *h);
/* All handlers and rules together, when everything is loaded. */
void check_chains(struct policy_gen *g);

#endif
