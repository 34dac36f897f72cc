/* The client against a scripted server on the same event base. A script is lines:
 *   S:text   the server says text (lines in a row are sent together)
 *   C:text   the client's next line is exactly this
 *   N:n      so many lines have come from the client and wait to be read, no more
 *   T        TLS handshake     X  close     R  reset     Z  long silence
 *   W        what the client sends now is thrown away
 * What the owner is told is written down as text and compared with what the case expects. */
#include "unit.h"

#include <event2/event.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtp/smtp.h"

enum {
	F_REQUIRETLS = 1, F_8BIT = 2, F_UTF8 = 4, F_DSN = 8, F_PULL = 16, F_PULL_LATER = 32,
	F_MAY_NOT = 64,
	F_STARTTLS = 256, F_CUT = 512, F_BODY8 = 1024, F_IMPLICIT = 2048, F_FREE_IN_DONE = 4096,
	F_QUIT_IN_DONE = 8192, F_UTF8_ORCPT = 16384, F_BAD_FROM = 32768, F_BAD_RCPT = 65536,
	F_BAD_ORCPT = 131072, F_QUOTED = 262144, F_NO_BDAT = 524288,
	/* The one timer that is to run out; the others leave a slow machine its time. */
	F_SHORT_GREETING = 1 << 20, F_SHORT_EHLO = 1 << 21, F_SHORT_HANDSHAKE = 1 << 22,
	F_SHORT_MAIL = 1 << 23, F_SHORT_END = 1 << 24,
	F_LOGIN = 1 << 25, F_LOGIN_LONG = 1 << 26, F_FREE_IN_LOGIN = 1 << 27,
};

struct script_case {
	const char *name;
	unsigned flags, txns, rcpts;
	const char *script;
	const char *want;	/* events */
};

#define HELLO "S:220 mx ESMTP\nC:EHLO gw.example.org\n"
#define PLAIN HELLO "S:250 mx\n"
#define PIPE HELLO "S:250-mx\nS:250 PIPELINING\n"
#define GROUP1 "N:3\nC:MAIL FROM:<a@example.org>\nC:RCPT TO:<r0@example.net>\nC:DATA\n"
#define CONTENT "C:Received: here\nC:Subject: x\nC:\nC:..dot\nC:body\nC:.\n"
#define RAW "C:Received: here\nC:Subject: x\nC:\nC:.dot\nC:body\n"
#define RAW_SIZE "42"

#define IN_TLS(ehlo) HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nT\nC:EHLO gw.example.org\nS:250-mx\n" ehlo "\n"
#define READY "ready ext=1024 esmtp starttls tls before=128;"
#define SAY_PLAIN "C:AUTH PLAIN AHVzZXIAcGFzcw==\n"

static const struct script_case cases[] = {
	/* ---- before the first transaction ---- */
	{ "hello", 0, 0, 0, PLAIN "C:QUIT\nS:221 bye\nX", "ready ext=0 esmtp;" },
	{ "keywords in any case", 0, 0, 0, HELLO
	    "S:250-mx\nS:250-pipelining\nS:250-Size 1000\nS:250-8BITMIME\nS:250-SMTPUTF8\nS:250-CHUNKING\n"
	    "S:250-ENHANCEDSTATUSCODES\nS:250-DSN\nS:250-X-OTHER a b\nS:250-AUTH=LOGIN\nS:250 STARTTLS\n"
	    "C:QUIT\nS:221 bye\nX", "ready ext=255 esmtp starttls size=1000;" },
	{ "REQUIRETLS with a parameter is not REQUIRETLS (R-01)", 0, 0, 0, HELLO
	    "S:250-mx\nS:250 REQUIRETLS=1\nC:QUIT\nX", "ready ext=0 esmtp;" },
	{ "REQUIRETLS followed by words", 0, 0, 0, HELLO
	    "S:250-mx\nS:250 REQUIRETLS yes\nC:QUIT\nX", "ready ext=0 esmtp;" },
	{ "keywords on the first line do not count", 0, 0, 0, HELLO "S:250 PIPELINING\nC:QUIT\nX",
	    "ready ext=0 esmtp;" },
	{ "SIZE out of range", 0, 0, 0, HELLO "S:250-mx\nS:250 SIZE 99999999999999999999\nC:QUIT\nX",
	    "ready ext=2 esmtp;" },
	{ "LIMITS (M-119)", 0, 0, 0, HELLO "S:250-mx\nS:250 LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1 X=y\n"
	    "C:QUIT\nX", "ready ext=512 esmtp rcpt=20 mail=5 domain=1;" },
	{ "LIMITS, one of them bad (M-120)", 0, 0, 0, HELLO
	    "S:250-mx\nS:250 LIMITS RCPTMAX=0 MAILMAX=1234567 RCPTDOMAINMAX=3\nC:QUIT\nX",
	    "ready ext=512 esmtp domain=3;" },
	{ "LIMITS, broken line (M-120)", 0, 0, 0, HELLO "S:250-mx\nS:250 LIMITS RCPTMAX=20 =5\nC:QUIT\nX",
	    "ready ext=512 esmtp;" },
	{ "HELO after 5yz (M-72)", 0, 0, 0, HELLO "S:502 what?\nC:HELO gw.example.org\nS:250 mx\nC:QUIT\nX",
	    "ready ext=0;" },
	{ "no HELO after 4yz (M-72)", 0, 0, 0, HELLO "S:421 not now\nX", "ended EHLO 421;" },
	{ "no HELO after 451", 0, 0, 0, HELLO "S:451 not now\nC:QUIT\nX", "ended EHLO 451;" },
	{ "HELO refused, too", 0, 0, 0, HELLO "S:500 a\nC:HELO gw.example.org\nS:550 5.7.1 b\nC:QUIT\nX",
	    "ended EHLO 550 5.7.1;" },
	{ "greeting 554 gets QUIT (M-66)", 0, 0, 0, "S:554 no\nC:QUIT\nX", "ended GREETING 554;" },
	{ "greeting 421", 0, 0, 0, "S:421 busy\nX", "ended GREETING 421;" },
	{ "long greeting (M-64)", 0, 0, 0, "S:220-mx\nS:220-\nS:220\nC:EHLO gw.example.org\nS:250 mx\nC:QUIT\nX",
	    "ready ext=0 esmtp;" },
	{ "greeting 354", 0, 0, 0, "S:354 go\nX", "ended PROTOCOL 0;" },
	{ "no SMTP at all", 0, 0, 0, "S:HTTP/1.1 400 Bad\nX", "ended PROTOCOL 0;" },
	{ "closed before the greeting", 0, 0, 0, "X", "ended LOST 0;" },
	{ "half a greeting", 0, 0, 0, "S:220-mx\nX", "ended LOST 0;" },
	{ "reset instead of EHLO's reply", 0, 0, 0, HELLO "R", "ended LOST 0;" },
	{ "preloaded EHLO reply (X-45)", 0, 0, 0, "S:220 mx\nS:250 mx\nX", "ended PROTOCOL 0;" },
	{ "silence after connect (X-44)", F_SHORT_GREETING, 0, 0, "Z", "ended TIMEOUT 0;" },
	{ "silence after EHLO (X-44)", F_SHORT_EHLO, 0, 0, HELLO "Z", "ended TIMEOUT 0;" },

	/* ---- one recipient, step by step ---- */
	{ "plain", 0, 1, 1, PLAIN "N:1\nC:MAIL FROM:<a@example.org>\nN:0\nS:250 ok\nN:1\nC:RCPT TO:<r0@example.net>\n"
	    "S:250 ok\nN:1\nC:DATA\nS:354 go\n" CONTENT "S:250 2.0.0 queued\nC:QUIT\nS:221 bye\nX",
	    "ready ext=0 esmtp;done END 250 2.0.0 accepted [250];ready ext=0 esmtp;" },
	{ "MAIL 4yz (row 48)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:450 4.7.1 later\nC:QUIT\nX",
	    "ready ext=0 esmtp;done MAIL 450 4.7.1 [0];ready ext=0 esmtp;" },
	{ "MAIL 5yz (row 48)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:550 no\nC:QUIT\nX",
	    "ready ext=0 esmtp;done MAIL 550 [0];ready ext=0 esmtp;" },
	{ "MAIL 530, STARTTLS first (row 47)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:530 5.7.0 STARTTLS first\nC:QUIT\nX",
	    "ready ext=0 esmtp;done MAIL 530 5.7.0 [0];ready ext=0 esmtp;" },
	{ "RCPT 4yz: RSET, then the next (row 48)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:450 4.2.2 full\nC:RSET\nS:250 ok\nC:QUIT\nX",
	    "ready ext=0 esmtp;done RCPT 0 [450 4.2.2];ready ext=0 esmtp;" },
	{ "RCPT 5yz for one of two (row 48)", 0, 1, 2, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:550-5.1.1 no\nS:550 5.1.1 such user\nC:RCPT TO:<r1@example.net>\nS:251 ok\n"
	    "C:DATA\nS:354 go\n" CONTENT "S:250 done\nC:QUIT\nX",
	    "ready ext=0 esmtp;done END 250 accepted [550 5.1.1,251];ready ext=0 esmtp;" },
	{ "DATA 4yz", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\n"
	    "C:DATA\nS:451 4.3.0 no\nC:RSET\nS:250 ok\nC:QUIT\nX",
	    "ready ext=0 esmtp;done DATA 451 4.3.0 [250];ready ext=0 esmtp;" },
	{ "DATA 250 is no acceptance (X-46)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:250 ok\nC:DATA\nS:250 accepted\nX",
	    "ready ext=0 esmtp;done RCPT 0 [250];ended PROTOCOL 0;" },
	{ "final 5yz (row 48)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\n"
	    "C:DATA\nS:354 go\n" CONTENT "S:554 5.7.1 spam\nC:QUIT\nX",
	    "ready ext=0 esmtp;done END 554 5.7.1 [250];ready ext=0 esmtp;" },
	{ "final 4yz (row 48)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\n"
	    "C:DATA\nS:354 go\n" CONTENT "S:452 4.3.1 full\nC:QUIT\nX",
	    "ready ext=0 esmtp;done END 452 4.3.1 [250];ready ext=0 esmtp;" },
	{ "final 354 (X-46)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\n"
	    "C:DATA\nS:354 go\n" CONTENT "S:354 again\nX",
	    "ready ext=0 esmtp;done END 0 unknown [250];ended PROTOCOL 0;" },
	{ "final, mixed codes (X-46)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\n"
	    "S:250 ok\nC:DATA\nS:354 go\n" CONTENT "S:250-ok\nS:550 no\nX",
	    "ready ext=0 esmtp;done END 0 unknown [250];ended PROTOCOL 0;" },
	{ "final, half a reply (X-46)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\n"
	    "S:250 ok\nC:DATA\nS:354 go\n" CONTENT "S:250-ok\nX",
	    "ready ext=0 esmtp;done END 0 unknown [250];ended LOST 0;" },
	{ "early 250 behind the 354 (X-45)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:250 ok\nC:DATA\nS:354 go\nS:250 accepted\nX",
	    "ready ext=0 esmtp;done RCPT 0 [250];ended PROTOCOL 0;" },
	{ "early RCPT reply (X-45)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nS:250 rcpt ok\nX",
	    "ready ext=0 esmtp;done RCPT 0 [0];ended PROTOCOL 0;" },
	{ "421 to MAIL", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:421 4.3.2 bye\nX",
	    "ready ext=0 esmtp;done MAIL 421 4.3.2 [0];ended LOST 421 4.3.2;" },
	{ "421 to the end of data", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\n"
	    "S:250 ok\nC:DATA\nS:354 go\n" CONTENT "S:421 4.3.2 bye\nX",
	    "ready ext=0 esmtp;done END 421 4.3.2 [250];ended LOST 421 4.3.2;" },
	{ "cut after MAIL", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nX",
	    "ready ext=0 esmtp;done MAIL 0 [0];ended LOST 0;" },
	{ "cut after RCPT", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nR",
	    "ready ext=0 esmtp;done RCPT 0 [0];ended LOST 0;" },
	{ "cut after DATA", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\n"
	    "C:DATA\nX", "ready ext=0 esmtp;done RCPT 0 [250];ended LOST 0;" },
	{ "cut after the dot: nobody knows (rule 6)", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:250 ok\nC:DATA\nS:354 go\n" CONTENT "R",
	    "ready ext=0 esmtp;done END 0 unknown [250];ended LOST 0;" },
	{ "silence after the dot (M-25)", F_SHORT_END, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:250 ok\nC:DATA\nS:354 go\n" CONTENT "Z",
	    "ready ext=0 esmtp;done END 0 unknown [250];ended TIMEOUT 0;" },
	{ "silence after MAIL", F_SHORT_MAIL, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nZ",
	    "ready ext=0 esmtp;done MAIL 0 [0];ended TIMEOUT 0;" },
	{ "RSET refused", 0, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:550 no\n"
	    "C:RSET\nS:500 what\nX", "ready ext=0 esmtp;done RCPT 0 [550];ended LOST 500;" },
	{ "two in a row on one connection", 0, 2, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:250 ok\nC:DATA\nS:354 go\n" CONTENT "S:250 one\n"
	    "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\nC:DATA\nS:354 go\n" CONTENT
	    "S:250 two\nC:QUIT\nX",
	    "ready ext=0 esmtp;done END 250 accepted [250];ready ext=0 esmtp;done END 250 accepted [250];"
	    "ready ext=0 esmtp;" },

	/* ---- pipelined ---- */
	{ "pipelined (M-99)", 0, 1, 1, PIPE GROUP1 "S:250 m\nS:250 r\nS:354 d\n" CONTENT "S:250 ok\nC:QUIT\nX",
	    "ready ext=1 esmtp;done END 250 accepted [250];ready ext=1 esmtp;" },
	{ "pipelined, replies one by one", 0, 1, 1, PIPE GROUP1 "S:250 m\nN:0\nS:250 r\nN:0\nS:354 d\n" CONTENT
	    "S:250 ok\nC:QUIT\nX", "ready ext=1 esmtp;done END 250 accepted [250];ready ext=1 esmtp;" },
	{ "pipelined, MAIL refused", 0, 1, 1, PIPE GROUP1 "S:550 5.7.1 m\nS:503 r\nS:503 d\nC:QUIT\nX",
	    "ready ext=1 esmtp;done MAIL 550 5.7.1 [0];ready ext=1 esmtp;" },
	{ "pipelined, all RCPT refused, DATA refused", 0, 1, 1, PIPE GROUP1 "S:250 m\nS:550 r\nS:554 d\nC:RSET\nS:250 ok\n"
	    "C:QUIT\nX", "ready ext=1 esmtp;done RCPT 0 [550];ready ext=1 esmtp;" },
	{ "lone dot for nobody (M-100)", 0, 1, 1, PIPE GROUP1 "S:250 m\nS:550 r\nS:354 d\nC:.\nS:554 none\nC:QUIT\nX",
	    "ready ext=1 esmtp;done RCPT 0 [550];ready ext=1 esmtp;" },
	{ "lone dot accepted is no acceptance (M-98)", 0, 1, 1, PIPE GROUP1 "S:250 m\nS:550 r\nS:354 d\nC:.\nS:250 fine\n"
	    "C:QUIT\nX", "ready ext=1 esmtp;done RCPT 0 [550];ready ext=1 esmtp;" },
	{ "lone dot after MAIL refused", 0, 1, 1, PIPE GROUP1 "S:550 m\nS:250 r\nS:354 d\nC:.\nS:250 fine\nC:QUIT\nX",
	    "ready ext=1 esmtp;done MAIL 550 [0];ready ext=1 esmtp;" },
	{ "pipelined, three recipients", 0, 1, 3, PIPE "N:5\nC:MAIL FROM:<a@example.org>\nC:RCPT TO:<r0@example.net>\n"
	    "C:RCPT TO:<r1@example.net>\nC:RCPT TO:<r2@example.net>\nC:DATA\n"
	    "S:250 m\nS:250 a\nS:452 4.5.3 enough\nS:550 c\nS:354 d\n" CONTENT "S:250 ok\nC:QUIT\nX",
	    "ready ext=1 esmtp;done END 250 accepted [250,452 4.5.3,550];ready ext=1 esmtp;" },
	{ "pipelined, DATA 4yz although accepted", 0, 1, 1, PIPE GROUP1 "S:250 m\nS:250 r\nS:451 d\nC:RSET\nS:250 ok\nC:QUIT\nX",
	    "ready ext=1 esmtp;done DATA 451 [250];ready ext=1 esmtp;" },
	{ "pipelined, an extra reply (X-45)", 0, 1, 1, PIPE GROUP1 "S:250 m\nS:250 r\nS:354 d\nS:250 what\nX",
	    "ready ext=1 esmtp;done RCPT 0 [250];ended PROTOCOL 0;" },
	{ "pipelined, cut among the replies", 0, 1, 2, PIPE "N:4\nC:MAIL FROM:<a@example.org>\nC:RCPT TO:<r0@example.net>\n"
	    "C:RCPT TO:<r1@example.net>\nC:DATA\nS:250 m\nS:550 5.1.1 r0\nX",
	    "ready ext=1 esmtp;done RCPT 0 [550 5.1.1,0];ended LOST 0;" },
	{ "pipelined, 421 among the replies", 0, 1, 2, PIPE "N:4\nC:MAIL FROM:<a@example.org>\nC:RCPT TO:<r0@example.net>\n"
	    "C:RCPT TO:<r1@example.net>\nC:DATA\nS:250 m\nS:250 r0\nS:421 bye\nX",
	    "ready ext=1 esmtp;done RCPT 0 [250,421];ended LOST 421;" },
	{ "354 to RCPT", 0, 1, 1, PIPE GROUP1 "S:250 m\nS:354 r\nX",
	    "ready ext=1 esmtp;done RCPT 0 [0];ended PROTOCOL 0;" },
	{ "spoken to while idle (X-45)", 0, 0, 0, PIPE "S:250 hello?\nX", "ready ext=1 esmtp;ended PROTOCOL 0;" },

	/* ---- BDAT ---- */
	{ "BDAT without PIPELINING", 0, 1, 1, HELLO "S:250-mx\nS:250 CHUNKING\nC:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:250 ok\nC:BDAT " RAW_SIZE " LAST\n" RAW "S:250 ok\nC:QUIT\nX",
	    "ready ext=16 esmtp;done END 250 accepted [250];ready ext=16 esmtp;" },
	{ "memory and PIPELINING: DATA", 0, 1, 1, HELLO "S:250-mx\nS:250-PIPELINING\nS:250 CHUNKING\n" GROUP1
	    "S:250 m\nS:250 r\nS:354 d\n" CONTENT "S:250 ok\nC:QUIT\nX",
	    "ready ext=17 esmtp;done END 250 accepted [250];ready ext=17 esmtp;" },
	{ "pulled and PIPELINING: BDAT behind the replies", F_PULL, 1, 1, HELLO "S:250-mx\nS:250-PIPELINING\nS:250 CHUNKING\n"
	    "N:2\nC:MAIL FROM:<a@example.org>\nC:RCPT TO:<r0@example.net>\nN:0\nS:250 m\nS:250 r\nC:BDAT " RAW_SIZE " LAST\n" RAW
	    "S:250 ok\nC:QUIT\nX", "ready ext=17 esmtp;done END 250 accepted [250];ready ext=17 esmtp;" },
	{ "BDAT, all RCPT refused: no BDAT", F_PULL, 1, 1, HELLO "S:250-mx\nS:250-PIPELINING\nS:250 CHUNKING\n"
	    "C:MAIL FROM:<a@example.org>\nC:RCPT TO:<r0@example.net>\nS:250 m\nS:550 r\nC:RSET\nS:250 ok\nC:QUIT\nX",
	    "ready ext=17 esmtp;done RCPT 0 [550];ready ext=17 esmtp;" },
	{ "BDAT refused", 0, 1, 1, HELLO "S:250-mx\nS:250 CHUNKING\nC:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:250 ok\nC:BDAT " RAW_SIZE " LAST\n" RAW "S:552 5.3.4 big\nC:QUIT\nX",
	    "ready ext=16 esmtp;done END 552 5.3.4 [250];ready ext=16 esmtp;" },
	{ "BDAT unknown (X-49)", 0, 1, 1, HELLO "S:250-mx\nS:250 CHUNKING\nC:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:250 ok\nC:BDAT " RAW_SIZE " LAST\n" RAW "S:502 5.5.1 what?\nX",
	    "ready ext=16 esmtp;done DATA 502 5.5.1 no-bdat [250];ended PROTOCOL 0;" },
	{ "BDAT unknown, and the content taken for commands", 0, 1, 1, HELLO "S:250-mx\nS:250 CHUNKING\n"
	    "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\nC:BDAT " RAW_SIZE " LAST\n" RAW
	    "S:500 what?\nS:500 what?\nS:250 taken\nX",
	    "ready ext=16 esmtp;done DATA 500 no-bdat [250];ended PROTOCOL 0;" },
	{ "BDAT unknown, said at once", F_PULL_LATER | F_CUT, 1, 1, HELLO "S:250-mx\nS:250 CHUNKING\n"
	    "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\nC:BDAT " RAW_SIZE " LAST\n"
	    "C:Received: here\nC:Subject: x\nC:\nS:503 5.5.1 what?\nX",
	    "ready ext=16 esmtp;done DATA 503 5.5.1 no-bdat [250];ended PROTOCOL 0;" },
	{ "BDAT refused for its content", 0, 1, 1, HELLO "S:250-mx\nS:250 CHUNKING\nC:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:250 ok\nC:BDAT " RAW_SIZE " LAST\n" RAW "S:501 5.6.0 no\nC:QUIT\nX",
	    "ready ext=16 esmtp;done END 501 5.6.0 [250];ready ext=16 esmtp;" },
	{ "CHUNKING listed, DATA wanted (X-49)", F_NO_BDAT, 1, 1, HELLO "S:250-mx\nS:250 CHUNKING\nC:MAIL FROM:<a@example.org>\n"
	    "S:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\nC:DATA\nS:354 d\n" CONTENT "S:250 ok\nC:QUIT\nX",
	    "ready ext=16 esmtp;done END 250 accepted [250];ready ext=16 esmtp;" },

	/* ---- content by pull ---- */
	{ "pulled, DATA", F_PULL, 1, 1, PIPE GROUP1 "S:250 m\nS:250 r\nS:354 d\n" CONTENT "S:250 ok\nC:QUIT\nX",
	    "ready ext=1 esmtp;done END 250 accepted [250];ready ext=1 esmtp;" },
	{ "pulled an octet at a time, later", F_PULL_LATER, 1, 1, PIPE GROUP1 "S:250 m\nS:250 r\nS:354 d\n" CONTENT
	    "S:250 ok\nC:QUIT\nX", "ready ext=1 esmtp;done END 250 accepted [250];ready ext=1 esmtp;" },
	{ "content cannot be had: no dot", F_PULL | F_CUT, 1, 1, PIPE GROUP1
	    "S:250 m\nS:250 r\nS:354 d\nC:Received: here\nC:Subject: x\nC:\nN:0",
	    "ready ext=1 esmtp;done DATA 0 [250];ended LOST 0;" },
	{ "reply in the middle of content (X-45)", F_PULL_LATER | F_CUT, 1, 1, PIPE GROUP1
	    "S:250 m\nS:250 r\nS:354 d\nC:Received: here\nC:Subject: x\nC:\nS:552 5.3.4 too big\nX",
	    "ready ext=1 esmtp;done DATA 0 [250];ended PROTOCOL 0;" },
	{ "421 in the middle of content", F_PULL_LATER | F_CUT, 1, 1, PIPE GROUP1
	    "S:250 m\nS:250 r\nS:354 d\nC:Received: here\nC:Subject: x\nC:\nS:421 4.3.2 going down\nX",
	    "ready ext=1 esmtp;done DATA 421 4.3.2 [250];ended LOST 421 4.3.2;" },

	/* ---- parameters ---- */
	{ "SIZE and BODY", F_8BIT, 1, 1, HELLO "S:250-mx\nS:250-SIZE 0\nS:250 8BITMIME\n"
	    "C:MAIL FROM:<a@example.org> SIZE=" RAW_SIZE " BODY=8BITMIME\nS:250 ok\nX",
	    "ready ext=6 esmtp;done RCPT 0 [0];ended LOST 0;" },
	{ "BODY as the sender declared it", F_BODY8, 1, 1, HELLO "S:250-mx\nS:250 8BITMIME\n"
	    "C:MAIL FROM:<a@example.org> BODY=8BITMIME\nX", "ready ext=4 esmtp;done MAIL 0 [0];ended LOST 0;" },
	{ "8-bit without 8BITMIME (M-110)", F_8BIT, 1, 1, PLAIN "C:QUIT\nX",
	    "ready ext=0 esmtp;done MAIL 0 5.6.3 [0];ready ext=0 esmtp;" },
	{ "UTF-8 without SMTPUTF8 (M-166)", F_UTF8, 1, 1, PLAIN "C:QUIT\nX",
	    "ready ext=0 esmtp;done MAIL 0 5.6.7 [0];ready ext=0 esmtp;" },
	{ "UTF-8", F_UTF8, 1, 1, HELLO "S:250-mx\nS:250 SMTPUTF8\nC:MAIL FROM:<a@example.org> SMTPUTF8\nX",
	    "ready ext=8 esmtp;done MAIL 0 [0];ended LOST 0;" },
	{ "too big (M-108)", 0, 1, 1, HELLO "S:250-mx\nS:250 SIZE 41\nC:QUIT\nX",
	    "ready ext=2 esmtp size=41;done MAIL 0 5.3.4 [0];ready ext=2 esmtp size=41;" },
	{ "just fits", 0, 1, 1, HELLO "S:250-mx\nS:250 SIZE 42\nC:MAIL FROM:<a@example.org> SIZE=42\nX",
	    "ready ext=2 esmtp size=42;done MAIL 0 [0];ended LOST 0;" },
	{ "DSN passed on (M-133, R-90)", F_DSN, 1, 1, HELLO "S:250-mx\nS:250 DSN\n"
	    "C:MAIL FROM:<a@example.org> RET=FULL ENVID=id+2B7\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old@example.net\nX",
	    "ready ext=64 esmtp;done RCPT 0 dsn [0];ended LOST 0;" },
	{ "no DSN offered: dropped (M-134)", F_DSN, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nX", "ready ext=0 esmtp;done RCPT 0 [0];ended LOST 0;" },
	{ "UTF-8 ORCPT made ASCII (M-148)", F_UTF8_ORCPT, 1, 1, HELLO "S:250-mx\nS:250 DSN\n"
	    "C:MAIL FROM:<a@example.org>\nS:250 ok\nC:RCPT TO:<r0@example.net> ORCPT=utf-8;\\x{E4}@\\x{20AC}.\\x{1F600}\nX",
	    "ready ext=64 esmtp;done RCPT 0 dsn [0];ended LOST 0;" },
	{ "a sender that would be a command (X-65)", F_BAD_FROM, 1, 1, PLAIN "C:QUIT\nX",
	    "ready ext=0 esmtp;done MAIL 0 5.1.7 [0];ready ext=0 esmtp;" },
	{ "a recipient that would be a parameter (X-65)", F_BAD_RCPT, 1, 1, PLAIN "C:QUIT\nX",
	    "ready ext=0 esmtp;done MAIL 0 5.1.3 [0];ready ext=0 esmtp;" },
	{ "an ORCPT that would be a parameter (X-65)", F_BAD_ORCPT, 1, 1, HELLO "S:250-mx\nS:250 DSN\nC:QUIT\nX",
	    "ready ext=64 esmtp;done MAIL 0 5.1.3 dsn [0];ready ext=64 esmtp;" },
	{ "quoted local-part", F_QUOTED, 1, 1, PLAIN "C:MAIL FROM:<\"a> b\\\"c\"@example.org>\nX",
	    "ready ext=0 esmtp;done MAIL 0 [0];ended LOST 0;" },
	{ "may_send says no (I2)", F_MAY_NOT, 1, 1, PLAIN "C:QUIT\nX",
	    "ready ext=0 esmtp;done MAIL 0 [0];ready ext=0 esmtp;" },
	{ "REQUIRETLS is never sent in clear (R-08)", F_REQUIRETLS, 1, 1, HELLO "S:250-mx\nS:250 REQUIRETLS\nC:QUIT\nX",
	    "ready ext=256 esmtp;done MAIL 0 5.7.30 [0];ready ext=256 esmtp;" },
	{ "free inside done", F_FREE_IN_DONE, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:550 no\n",
	    "ready ext=0 esmtp;done MAIL 550 [0];" },
	{ "quit inside done", F_QUIT_IN_DONE, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:250 ok\n"
	    "C:RCPT TO:<r0@example.net>\nS:550 no\nC:QUIT\nS:221 bye\nX", "ready ext=0 esmtp;done RCPT 0 [550];" },
	{ "quit inside done of a lost connection", F_QUIT_IN_DONE, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nX",
	    "ready ext=0 esmtp;done MAIL 0 [0];" },
	{ "quit inside done after nonsense", F_QUIT_IN_DONE, 1, 1, PLAIN "C:MAIL FROM:<a@example.org>\nS:hello\nX",
	    "ready ext=0 esmtp;done MAIL 0 [0];" },

	/* ---- AUTH (RFC 4954) ---- */
	{ "PLAIN, then a message", F_STARTTLS | F_LOGIN, 1, 1, IN_TLS("S:250 AUTH LOGIN plain") "N:1\n" SAY_PLAIN
	    "N:0\nS:235 2.7.0 ok\nC:MAIL FROM:<a@example.org>\nS:550 no\nC:QUIT\nX",
	    READY "login ok 235 2.7.0;done MAIL 550 [0];ready ext=1024 esmtp starttls tls before=128 auth;" },
	{ "235 of two lines", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH PLAIN") SAY_PLAIN "S:235-hi\nS:235 ho\nC:QUIT\nX",
	    READY "login ok 235;" },
	{ "LOGIN, where that is all", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH CRAM-MD5 login") "N:1\nC:AUTH LOGIN\n"
	    "N:0\nS:334 VXNlcm5hbWU6\nN:1\nC:dXNlcg==\nN:0\nS:334 UGFzc3dvcmQ6\nC:cGFzcw==\nS:235 ok\nC:QUIT\nX",
	    READY "login ok 235;" },
	{ "PLAIN too long for a command", F_STARTTLS | F_LOGIN | F_LOGIN_LONG, 0, 0, IN_TLS("S:250 AUTH PLAIN")
	    "C:AUTH PLAIN\nN:0\nS:334\nC:AHVzZXIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcA==\nS:235 ok\nC:QUIT\nX", READY "login ok 235;" },
	{ "no mechanism that we have", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH CRAM-MD5 PLAINX") "C:QUIT\nX",
	    READY "login none 0;" },
	{ "AUTH without TLS", F_LOGIN, 0, 0, HELLO "S:250-mx\nS:250 AUTH PLAIN LOGIN\nC:QUIT\nX", "ready ext=1024 esmtp;login none 0;" },
	{ "AUTH before TLS only (R-11)", F_STARTTLS | F_LOGIN, 0, 0, HELLO "S:250-mx\nS:250-AUTH PLAIN\nS:250 STARTTLS\n"
	    "C:STARTTLS\nS:220 go\nT\nC:EHLO gw.example.org\nS:250 mx\nC:QUIT\nX",
	    "ready ext=0 esmtp starttls tls before=1152;login none 0;" },
	{ "AUTH before TLS, HELO inside", F_STARTTLS | F_LOGIN, 0, 0, HELLO "S:250-mx\nS:250-AUTH PLAIN\nS:250 STARTTLS\n"
	    "C:STARTTLS\nS:220 go\nT\nC:EHLO gw.example.org\nS:502 no\nC:HELO gw.example.org\nS:250 mx\nC:QUIT\nX",
	    "ready ext=0 starttls tls before=1152;login none 0;" },
	{ "535", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH PLAIN") SAY_PLAIN "S:535 5.7.8 no\nC:QUIT\nX",
	    READY "login refused 535 5.7.8;" },
	{ "454, LOGIN, in the middle", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH LOGIN") "C:AUTH LOGIN\nS:334 VXNlcm5hbWU6\n"
	    "C:dXNlcg==\nS:454 4.7.0 later\nC:QUIT\nX", READY "login refused 454 4.7.0;" },
	{ "421", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH PLAIN") SAY_PLAIN "S:421 4.7.0 bye\nX", READY "ended LOST 421 4.7.0;" },
	{ "cut", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH PLAIN") SAY_PLAIN "R", READY "ended LOST 0;" },
	{ "silence", F_STARTTLS | F_LOGIN | F_SHORT_MAIL, 0, 0, IN_TLS("S:250 AUTH PLAIN") SAY_PLAIN "Z", READY "ended TIMEOUT 0;" },
	{ "the reply ahead (X-45)", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH PLAIN\nS:235 ok"), READY "ended PROTOCOL 0;" },
	{ "334 without an end", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH PLAIN") SAY_PLAIN "S:334 \nX", READY "ended PROTOCOL 0;" },
	{ "334 once too often", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH LOGIN") "C:AUTH LOGIN\nS:334 VXNlcm5hbWU6\n"
	    "C:dXNlcg==\nS:334 UGFzc3dvcmQ6\nC:cGFzcw==\nS:334 T1RQOg==\nX", READY "ended PROTOCOL 0;" },
	{ "two of 334 at once", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH LOGIN") "C:AUTH LOGIN\nS:334 VXNlcm5hbWU6\n"
	    "S:334 UGFzc3dvcmQ6\nX", READY "ended PROTOCOL 0;" },
	{ "334 that is no base64", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH LOGIN") "C:AUTH LOGIN\nS:334 User:\nX",
	    READY "ended PROTOCOL 0;" },
	{ "334 of two lines", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH LOGIN") "C:AUTH LOGIN\nS:334-VXNl\nS:334 VXNl\nX",
	    READY "ended PROTOCOL 0;" },
	{ "235 before the password", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH LOGIN") "C:AUTH LOGIN\nS:235 ok\nX",
	    READY "ended PROTOCOL 0;" },
	{ "250 is no reply to AUTH", F_STARTTLS | F_LOGIN, 0, 0, IN_TLS("S:250 AUTH PLAIN") SAY_PLAIN "S:250 ok\nX",
	    READY "ended PROTOCOL 0;" },
	{ "235 and more", F_STARTTLS | F_LOGIN, 1, 1, IN_TLS("S:250 AUTH PLAIN") SAY_PLAIN "S:235 ok\nS:250 ok\n",
	    READY "login ok 235;done MAIL 0 [0];ended PROTOCOL 0;" },
	{ "free inside logged_in", F_STARTTLS | F_LOGIN | F_FREE_IN_LOGIN, 0, 0, IN_TLS("S:250 AUTH PLAIN") SAY_PLAIN "S:535 no\n",
	    READY "login refused 535;" },

	/* ---- TLS ---- */
	{ "STARTTLS, EHLO again (N-20)", F_STARTTLS, 0, 0, HELLO "S:250-mx\nS:250-PIPELINING\nS:250-SIZE 5\nS:250 STARTTLS\n"
	    "N:1\nC:STARTTLS\nN:0\nS:220 go\nT\nN:1\nC:EHLO gw.example.org\nS:250-mx\nS:250 REQUIRETLS\nC:QUIT\nS:221 bye\nX",
	    "ready ext=256 esmtp starttls tls before=131;" },
	{ "REQUIRETLS only before TLS (R-11)", F_STARTTLS | F_REQUIRETLS, 1, 1, HELLO
	    "S:250-mx\nS:250-REQUIRETLS\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nT\nC:EHLO gw.example.org\nS:250 mx\nC:QUIT\nX",
	    "ready ext=0 esmtp starttls tls before=384;done MAIL 0 5.7.30 [0];ready ext=0 esmtp starttls tls before=384;" },
	{ "REQUIRETLS inside TLS (R-53)", F_STARTTLS | F_REQUIRETLS, 1, 1, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nT\n"
	    "C:EHLO gw.example.org\nS:250-mx\nS:250-SIZE\nS:250 REQUIRETLS\n"
	    "C:MAIL FROM:<a@example.org> SIZE=" RAW_SIZE " REQUIRETLS\nS:250 ok\nC:RCPT TO:<r0@example.net>\nS:250 ok\nC:DATA\nS:354 go\n"
	    CONTENT "S:250 ok\nC:QUIT\nX",
	    "ready ext=258 esmtp starttls tls before=128;done END 250 accepted requiretls [250];"
	    "ready ext=258 esmtp starttls tls before=128;" },
	{ "parameter refused, 555 (row 49)", F_STARTTLS | F_REQUIRETLS, 1, 1, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nT\n"
	    "C:EHLO gw.example.org\nS:250-mx\nS:250 REQUIRETLS\nC:MAIL FROM:<a@example.org> REQUIRETLS\nS:555 what\nC:QUIT\nX",
	    "ready ext=256 esmtp starttls tls before=128;done MAIL 555 requiretls refused [0];"
	    "ready ext=256 esmtp starttls tls before=128;" },
	{ "parameter refused, 5.5.4 (row 49)", F_STARTTLS | F_REQUIRETLS, 1, 1, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nT\n"
	    "C:EHLO gw.example.org\nS:250-mx\nS:250 REQUIRETLS\nC:MAIL FROM:<a@example.org> REQUIRETLS\nS:550 5.5.4 what\nC:QUIT\nX",
	    "ready ext=256 esmtp starttls tls before=128;done MAIL 550 5.5.4 requiretls refused [0];"
	    "ready ext=256 esmtp starttls tls before=128;" },
	{ "MAIL refused for another reason", F_STARTTLS | F_REQUIRETLS, 1, 1, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nT\n"
	    "C:EHLO gw.example.org\nS:250-mx\nS:250 REQUIRETLS\nC:MAIL FROM:<a@example.org> REQUIRETLS\nS:550 5.7.1 no\nC:QUIT\nX",
	    "ready ext=256 esmtp starttls tls before=128;done MAIL 550 5.7.1 requiretls [0];"
	    "ready ext=256 esmtp starttls tls before=128;" },
	{ "STARTTLS not offered", F_STARTTLS, 0, 0, PLAIN "C:QUIT\nX", "ready ext=0 esmtp;" },
	{ "STARTTLS 454", F_STARTTLS, 0, 0, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:454 4.7.0 not now\nC:QUIT\nX",
	    "ended STARTTLS 454 4.7.0;" },
	{ "STARTTLS 554", F_STARTTLS, 0, 0, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:554 no\nC:QUIT\nX",
	    "ended STARTTLS 554;" },
	{ "injection behind the 220 (X-32)", F_STARTTLS, 0, 0, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\n"
	    "S:220 go\nS:250-mx\nS:250 REQUIRETLS\nX", "ended PROTOCOL 0;" },
	{ "preloaded 220 (X-45)", F_STARTTLS, 0, 0, HELLO "S:250-mx\nS:250 STARTTLS\nS:220 go\nX", "ended PROTOCOL 0;" },
	{ "clear text instead of a handshake", F_STARTTLS, 0, 0, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\n"
	    "W\nS:554 just kidding, no TLS here at all\nX", "ended HANDSHAKE 0;" },
	{ "closed instead of a handshake", F_STARTTLS, 0, 0, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nX",
	    "ended HANDSHAKE 0;" },
	{ "silence instead of a handshake", F_STARTTLS | F_SHORT_HANDSHAKE, 0, 0,
	    HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nW\nZ",
	    "ended HANDSHAKE_TIMEOUT 0;" },
	{ "EHLO refused inside TLS: HELO", F_STARTTLS, 0, 0, HELLO "S:250-mx\nS:250 STARTTLS\nC:STARTTLS\nS:220 go\nT\n"
	    "C:EHLO gw.example.org\nS:502 no\nC:HELO gw.example.org\nS:250 mx\nC:QUIT\nX",
	    "ready ext=0 starttls tls before=128;" },
	{ "TLS first", F_IMPLICIT, 0, 0, "T\nN:0\n" HELLO "S:250-mx\nS:250 STARTTLS\nC:QUIT\nX",
	    "ready ext=128 esmtp tls;" },
};

/* ---- The owner's data ---- */

struct owner {
	const struct script_case *t;
	struct smtp_client *c;
	struct buf events;
	unsigned left;
	struct smtp_txn txn;
	struct msg msg;
	struct msg_rcpt rcpts[8];
	uint32_t index[8];
	struct content content;
	char mem[64];
	int finished;
	struct event *later;
	uint64_t offset;
	unsigned may_asked;
};

static struct owner o;

/* ---- The server that plays the script ---- */

static struct event_base *base;
static struct net_conn *peer;
static struct buf peer_in;
static int peer_accepted, peer_secured, peer_gone, peer_fd;
static struct tls_server *server_tls;
static struct tls_client *client_tls;

static void
peer_readable(void *owner)
{
	buf_add(&peer_in, net_in(peer).p, net_in(peer).n);
	net_consume(peer, net_in(peer).n);
}

static void
peer_done(void *owner)
{
	peer_secured++;
}

static void
peer_closed(void *owner, enum net_why why, const char *text)
{
	peer_gone++;
}

static const struct net_ops peer_ops = { peer_readable, NULL, NULL, peer_done, peer_closed };

static void
on_accepted(void *owner, int fd, const struct net_addr *from)
{
	peer_fd = fd;
	peer = net_accept(base, fd, from, &peer_ops, NULL, NULL);
	if (o.t->script[0] == 'T')
		ck_assert(net_start_tls_server(peer, server_tls));
	peer_accepted++;
}

static const struct net_listener_ops listen_ops = { .accepted = on_accepted };

static void
turns(int n)
{
	for (int i = 0; i < n; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void
until(const char *name, const char *what, const int *flag)
{
	int64_t end = clock_mono_ms() + 5000;

	while (*flag == 0 && clock_mono_ms() < end)
		turns(1);
	ck_assert_msg(*flag != 0, "%s: %s did not happen", name, what);
}

/* The next whole line the client sent; waits for it. */
static void
expect_line(const char *name, struct slice want)
{
	int64_t end = clock_mono_ms() + 3000;
	struct slice in;
	const char *lf;

	for (;;) {
		in = buf_slice(&peer_in);
		lf = in.n == 0 ? NULL : memchr(in.p, '\n', in.n);
		if (lf != NULL || clock_mono_ms() > end)
			break;
		turns(1);
	}
	ck_assert_msg(lf != NULL, "%s: waited for \"%.*s\"", name, (int)want.n, want.p);
	in.n = (size_t)(lf - in.p);
	ck_assert_msg(in.n > 0 && in.p[in.n - 1] == '\r', "%s: a line without CR (X-2)", name);
	in.n--;
	ck_assert_msg(slice_eq(in, want), "%s: \"%.*s\" instead of \"%.*s\"", name, (int)in.n, in.p,
	    (int)want.n, want.p);
	buf_consume(&peer_in, in.n + 2);
}

static void
expect_count(const char *name, struct slice digits)
{
	uint64_t want, n = 0;

	turns(30);
	ck_assert(slice_u64(digits, &want));
	for (size_t i = 0; i < peer_in.len; i++)
		n += buf_peek(&peer_in)[i] == '\n';
	ck_assert_msg(n == want, "%s: %llu lines instead of %llu", name, (unsigned long long)n,
	    (unsigned long long)want);
	if (want == 0)
		ck_assert_msg(peer_in.len == 0, "%s: unexpected octets", name);
}

static void
say(const char *line, size_t n)
{
	net_write(peer, line, n);
	net_write(peer, "\r\n", 2);
}

static void
play(const char *name, const char *script)
{
	struct slice rest = slice_of(script), line;
	bool talking = false;

	until(name, "connection", &peer_accepted);
	while (slice_cut(&rest, '\n', &line) && line.n > 0) {
		struct slice arg = { line.p + (line.n > 1 ? 2 : 1), line.n - (line.n > 1 ? 2 : 1) };
		struct linger hard = { 1, 0 };

		if (talking && strchr("STX", line.p[0]) == NULL)
			turns(1);
		talking = line.p[0] == 'S';
		switch (line.p[0]) {
		case 'S':
			say(arg.p, arg.n);
			break;
		case 'C':
			expect_line(name, arg);
			break;
		case 'N':
			expect_count(name, arg);
			break;
		case 'T':
			if (rest.p != script + 2)	/* at the very start it is done at accept */
				ck_assert(net_start_tls_server(peer, server_tls));
			until(name, "handshake", &peer_secured);
			break;
		case 'X':
			net_finish(peer, 1000);
			peer = NULL;
			break;
		case 'R':
			turns(5);
			setsockopt(peer_fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
			net_free(peer);
			peer = NULL;
			break;
		case 'W':
			turns(30);
			buf_clear(&peer_in);
			break;
		case 'Z':
			until(name, "giving up", &o.finished);
			break;
		default:
			ck_abort_msg("%s: bad script", name);
		}
	}
}

/* ---- The owner ---- */

static const char body[] = ".dot\r\nbody\r\n", header[] = "Received: here\r\nSubject: x\r\n\r\n";


static bool
may_send(void *owner, const struct smtp_client_info *info)
{
	o.may_asked++;
	return (o.t->flags & F_MAY_NOT) == 0;
}

static void
feed_later(evutil_socket_t fd, short what, void *arg)
{
	if ((o.t->flags & F_CUT) != 0)
		return;			/* never comes: the peer gets tired of it */
	smtp_client_feed(o.c, body + o.offset, 1);
}

static void
need_body(void *owner, uint64_t offset)
{
	static const struct timeval now = { 0, 0 };

	o.offset = offset;
	if ((o.t->flags & F_PULL_LATER) != 0)
		event_add(o.later, &now);
	else if ((o.t->flags & F_CUT) != 0)
		smtp_client_feed(o.c, NULL, 0);
	else if (offset == 0)
		smtp_client_feed(o.c, body, 7);
	else
		smtp_client_feed(o.c, body + offset, sizeof body - 1 - offset);
}

static void go_on(void);

static void
on_ready(void *owner, const struct smtp_client_info *i)
{
	buf_printf(&o.events, "ready ext=%u%s%s%s", i->ext, i->esmtp ? " esmtp" : "",
	    i->starttls_offered ? " starttls" : "", i->tls != NULL ? " tls" : "");
	if (i->ext_before_tls != 0)
		buf_printf(&o.events, " before=%u", i->ext_before_tls);
	if (i->size_max != 0)
		buf_printf(&o.events, " size=%u", (unsigned)i->size_max);
	if (i->rcpt_max != 0)
		buf_printf(&o.events, " rcpt=%u", i->rcpt_max);
	if (i->mail_max != 0)
		buf_printf(&o.events, " mail=%u", i->mail_max);
	if (i->rcpt_domain_max != 0)
		buf_printf(&o.events, " domain=%u", i->rcpt_domain_max);
	buf_printf(&o.events, "%s;", i->logged_in ? " auth" : "");
	if ((o.t->flags & F_LOGIN) != 0 && !i->logged_in) {
		char user[] = "user", password[401] = "pass";

		if ((o.t->flags & F_LOGIN_LONG) != 0)
			memset(password, 'p', sizeof password - 1);
		smtp_client_login(o.c, user, password);
		memset(user, 'x', sizeof user);		/* both were copied */
		memset(password, 'x', sizeof password);
		return;
	}
	go_on();
}

static void
go_on(void)
{
	if (o.left > 0) {
		o.left--;
		smtp_client_send(o.c, &o.txn);
	} else if (strstr(o.t->script, "QUIT") != NULL) {
		smtp_client_quit(o.c);
		o.c = NULL;
		o.finished = 1;
	}
}

static void
add_code(int code, const char *status)
{
	buf_printf(&o.events, "%d%s%s", code, status[0] == 0 ? "" : " ", status);
}

static void
on_logged_in(void *owner, enum smtp_login_end end, int code, const char *status, const char *text)
{
	static const char *const names[] = { "ok", "none", "refused" };

	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(smtp_client_get_info(o.c)->logged_in, end == SMTP_LOGIN_OK);
	buf_printf(&o.events, "login %s ", names[end]);
	add_code(code, status);
	buf_adds(&o.events, ";");
	if ((o.t->flags & F_FREE_IN_LOGIN) != 0) {
		smtp_client_free(o.c);
		o.c = NULL;
		o.finished = 1;
	} else {
		go_on();
	}
}

static void
on_done(void *owner, const struct smtp_txn_result *r)
{
	static const char *const stages[] = { "MAIL", "RCPT", "DATA", "END" };

	buf_printf(&o.events, "done %s ", stages[r->stage]);
	add_code(r->code, r->status);
	buf_printf(&o.events, "%s%s%s%s%s [", r->accepted ? " accepted" : "", r->unknown ? " unknown" : "",
	    r->dsn_relayed ? " dsn" : "", r->requiretls_sent ? " requiretls" : "",
	    r->parameter_refused ? " refused" : r->bdat_refused ? " no-bdat" : "");
	for (size_t i = 0; i < r->nrcpts; i++) {
		buf_adds(&o.events, i == 0 ? "" : ",");
		add_code(r->rcpts[i].code, r->rcpts[i].status);
		ck_assert((r->rcpts[i].text != NULL) == (r->rcpts[i].code != 0));
	}
	buf_adds(&o.events, "];");
	ck_assert(r->text != NULL || r->code == 0);
	ck_assert(!r->broke_protocol || (r->text != NULL && !r->accepted));
	if ((o.t->flags & (F_FREE_IN_DONE | F_QUIT_IN_DONE)) != 0) {
		if ((o.t->flags & F_FREE_IN_DONE) != 0)
			smtp_client_free(o.c);
		else
			smtp_client_quit(o.c);
		o.c = NULL;
		o.finished = 1;
	}
}

static void
on_ended(void *owner, enum smtp_client_end why, const struct smtp_client_info *info, int code,
    const char *status, const char *text)
{
	static const char *const names[] = { [SMTP_END_CONNECT] = "CONNECT", [SMTP_END_GREETING] = "GREETING",
		[SMTP_END_EHLO] = "EHLO", [SMTP_END_STARTTLS] = "STARTTLS", [SMTP_END_HANDSHAKE] = "HANDSHAKE",
		[SMTP_END_HANDSHAKE_TIMEOUT] = "HANDSHAKE_TIMEOUT", [SMTP_END_PROTOCOL] = "PROTOCOL",
		[SMTP_END_LOST] = "LOST", [SMTP_END_TIMEOUT] = "TIMEOUT", [SMTP_END_QUIT] = "QUIT" };

	ck_assert_ptr_nonnull(text);
	buf_printf(&o.events, "ended %s ", names[why]);
	add_code(code, status);
	buf_adds(&o.events, ";");
	smtp_client_free(o.c);
	o.c = NULL;
	o.finished = 1;
}

static const struct smtp_client_ops client_ops = { on_ready, on_done, on_ended, on_logged_in };

static void
owner_init(const struct script_case *t)
{
	static char *addresses[8] = { "r0@example.net", "r1@example.net", "r2@example.net" };

	memset(&o, 0, sizeof o);
	o.t = t;
	o.left = t->txns;
	buf_init(&o.events, 8192);
	o.msg.from = "a@example.org";
	o.msg.rcpts = o.rcpts;
	o.msg.nrcpts = t->rcpts;
	o.msg.body_type = (t->flags & F_BODY8) != 0 ? BODY_8BITMIME : BODY_7BIT;
	for (uint32_t i = 0; i < t->rcpts; i++) {
		o.rcpts[i].address = addresses[i];
		o.index[i] = i;
	}
	if ((t->flags & F_DSN) != 0) {
		o.msg.ret = RET_FULL;
		o.msg.envid = "id+2B7";
		o.rcpts[0].notify = NOTIFY_SUCCESS | NOTIFY_DELAY;
		o.rcpts[0].orcpt = "rfc822;old@example.net";
	}
	if ((t->flags & F_UTF8_ORCPT) != 0)
		o.rcpts[0].orcpt = "utf-8;\xC3\xA4@\xE2\x82\xAC.\xF0\x9F\x98\x80";
	if ((t->flags & F_BAD_FROM) != 0)
		o.msg.from = "a@example.org>\r\nRCPT TO:<x@example.net";
	if ((t->flags & F_BAD_RCPT) != 0)
		o.rcpts[0].address = "r0@example.net> NOTIFY=NEVER";
	if ((t->flags & F_BAD_ORCPT) != 0)
		o.rcpts[0].orcpt = "rfc822;a NOTIFY=NEVER";
	if ((t->flags & F_QUOTED) != 0)
		o.msg.from = "\"a> b\\\"c\"@example.org";
	/* The stored header is not what is sent: that is in txn.header. */
	strcpy(o.mem, "Old: x\r\n\r\n");
	o.content.header_size = strlen(o.mem);
	strcat(o.mem, body);
	o.content.mem = o.mem;
	o.content.size = strlen(o.mem);
	o.txn = (struct smtp_txn){ .msg = &o.msg, .rcpt_index = o.index, .nrcpts = t->rcpts,
		.with_requiretls = (t->flags & F_REQUIRETLS) != 0, .may_send = may_send,
		.header = { header, sizeof header - 1 }, .content = &o.content,
		.body_size = sizeof body - 1, .need_body = need_body,
		.is_8bit = (t->flags & F_8BIT) != 0, .needs_utf8 = (t->flags & F_UTF8) != 0,
		.no_bdat = (t->flags & F_NO_BDAT) != 0 };
	if ((t->flags & (F_PULL | F_PULL_LATER)) != 0)
		o.txn.content = NULL;
	o.later = event_new(base, -1, 0, feed_later, NULL);
}

/* ---- Certificates: one that names itself is enough here, test_net has the rest. ---- */

static void
tls_init(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	char file[64], key_file[64];
	struct tls_server_identity id = { "test", file, key_file };
	struct err err = { "" };
	FILE *f;

	snprintf(file, sizeof file, "test_smtp_client.%d.crt", (int)getpid());
	snprintf(key_file, sizeof key_file, "test_smtp_client.%d.key", (int)getpid());
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
	    (const unsigned char *)"mx", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_sign(x, key, EVP_sha256());
	f = fopen(file, "w");
	PEM_write_X509(f, x);
	fclose(f);
	f = fopen(key_file, "w");
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	server_tls = tls_server_new(&(struct tls_server_conf){ .identities = &id, .nidentities = 1 }, &err);
	client_tls = tls_client_new(&(struct tls_client_conf){ .ca_file = file }, &err);
	ck_assert_msg(server_tls != NULL && client_tls != NULL, "%s", err.text);
	unlink(file);
	unlink(key_file);
	X509_free(x);
	EVP_PKEY_free(key);
}

static struct net_listener *
listen_somewhere(struct net_addr *to)
{
	uint8_t ip[4] = { 127, 0, 0, 1 };
	struct err err = { "" };
	int fd;

	net_addr_set(to, AF_INET, ip, 0);
	fd = net_listen(to, false, &err);
	ck_assert_msg(fd >= 0, "%s", err.text);
	to->len = sizeof to->ss;
	getsockname(fd, (struct sockaddr *)&to->ss, &to->len);
	return net_listener_new(base, fd, &listen_ops, NULL);
}

static void
client_start(const struct net_addr *to)
{
	struct smtp_timers timers = smtp_timers_default;
	unsigned flags = o.t->flags;
	char sni[] = "mx.example.net";
	struct tls_want want = { .sni = sni };
	struct smtp_client_conf conf = { .to = to, .helo = "gw.example.org",
		.tls = (flags & F_IMPLICIT) != 0 ? SMTP_CLIENT_IMPLICIT :
		    (flags & F_STARTTLS) != 0 ? SMTP_CLIENT_STARTTLS : SMTP_CLIENT_CLEAR,
		.tls_ctx = client_tls, .want = &want, .timers = &timers };
	const struct { unsigned flag; int64_t *ms; } brief[] = {
		{ F_SHORT_GREETING, &timers.greeting }, { F_SHORT_EHLO, &timers.ehlo },
		{ F_SHORT_HANDSHAKE, &timers.handshake }, { F_SHORT_MAIL, &timers.mail },
		{ F_SHORT_END, &timers.data_end },
	};
	struct err err = { "" };

	for (size_t i = 0; i < NELEMS(brief); i++)
		if ((flags & brief[i].flag) != 0)
			*brief[i].ms = 50;
	o.c = smtp_client_new(base, &conf, &client_ops, &o, &err);
	ck_assert_msg(o.c != NULL, "%s", err.text);
	memset(sni, 'x', sizeof sni - 1);	/* was copied */
}

START_TEST(script)
{
	const struct script_case *t = &cases[_i];
	struct net_listener *l;
	struct net_addr to;
	char *events;

	base = event_base_new();
	buf_init(&peer_in, 1 << 20);
	owner_init(t);
	tls_init();
	l = listen_somewhere(&to);
	client_start(&to);
	play(t->name, t->script);
	until(t->name, "the end", &o.finished);
	turns(30);
	events = buf_take(&o.events);
	ck_assert_msg(strcmp(events, t->want) == 0, "%s:\n  got  %s\n  want %s", t->name, events, t->want);
	ck_assert_msg(peer_in.len == 0, "%s: more from the client: %.60s", t->name, buf_peek(&peer_in));
	ck_assert_uint_le(o.may_asked, t->txns);
	free(events);
	smtp_client_free(o.c);
	net_free(peer);
	net_listener_free(l);
	turns(30);
	event_free(o.later);
	tls_server_unref(server_tls);
	tls_client_unref(client_tls);
	buf_fini(&peer_in);
	event_base_free(base);
}
END_TEST

/* X-44: a reply that comes in drips has one deadline, however many reads it takes. */
static void
drip(evutil_socket_t fd, short what, void *arg)
{
	if (peer != NULL && peer_accepted)
		net_write(peer, "220-x\r\n", 7);
}

START_TEST(dripping_reply)
{
	static const struct script_case t = { "drip", F_SHORT_GREETING, 0, 0, "Z", NULL };
	struct timeval often = { 0, 5000 };
	struct net_listener *l;
	struct net_addr to;
	struct event *ev;

	base = event_base_new();
	buf_init(&peer_in, 1 << 20);
	owner_init(&t);
	tls_init();
	l = listen_somewhere(&to);
	ev = event_new(base, -1, EV_PERSIST, drip, NULL);
	event_add(ev, &often);
	client_start(&to);
	until("drip", "the end", &o.finished);
	ck_assert(slice_is(buf_slice(&o.events), "ended TIMEOUT 0;"));
	event_free(ev);
	net_free(peer);
	net_listener_free(l);
	event_free(o.later);
	buf_fini(&o.events);
	tls_server_unref(server_tls);
	tls_client_unref(client_tls);
	event_base_free(base);
}
END_TEST

/* Content far beyond the output's bound, by DATA and BDAT, from memory and by pull, to a peer that
 * reads in fits: what arrives is what was sent, and little of it is in memory at a time. */
#define BIG (3u << 20)
static char *big;

static void
need_big(void *owner, uint64_t offset)
{
	size_t n = BIG - offset < 256 * 1024 ? (size_t)(BIG - offset) : 256 * 1024;

	smtp_client_feed(o.c, big + offset, n);
}

static const struct big_case {
	const char *name, *ehlo;
	bool pull, bdat;
} bigs[] = {
	{ "memory, DATA", "250-mx\r\n250 PIPELINING\r\n", false, false },
	{ "pull, DATA", "250-mx\r\n250 PIPELINING\r\n", true, false },
	{ "memory, BDAT", "250-mx\r\n250 CHUNKING\r\n", false, true },
	{ "pull, BDAT", "250-mx\r\n250 CHUNKING\r\n", true, true },
};

static void
skip_line(const char *name, const char *answer)
{
	const char *lf;

	for (int64_t end = clock_mono_ms() + 3000; clock_mono_ms() < end; turns(1)) {
		lf = peer_in.len == 0 ? NULL : memchr(buf_peek(&peer_in), '\n', peer_in.len);
		if (lf == NULL)
			continue;
		buf_consume(&peer_in, (size_t)(lf - buf_peek(&peer_in)) + 1);
		if (answer != NULL)
			net_write(peer, answer, strlen(answer));
		return;
	}
	ck_abort_msg("%s: no line", name);
}

START_TEST(big_content)
{
	const struct big_case *t = &bigs[_i];
	static const struct script_case none = { "big", 0, 1, 1, "QUIT", NULL };
	struct net_listener *l;
	struct net_addr to;
	struct buf got;
	size_t want = sizeof header - 1 + BIG;

	base = event_base_new();
	buf_init(&peer_in, 8u << 20);
	buf_init(&got, 8u << 20);
	owner_init(&none);
	tls_init();
	big = xcalloc(1, BIG + 1);
	for (size_t i = 0; i + 16 <= BIG; i += 16)
		memcpy(big + i, i % 48 == 0 ? ".line of 16 oc\r\n" : "a line of 16 o\r\n", 16);
	o.content.mem = big;
	o.content.header_size = 0;
	o.txn.body_size = BIG;
	if (t->pull) {
		o.txn.content = NULL;
		o.txn.need_body = need_big;
	}
	l = listen_somewhere(&to);
	client_start(&to);
	until(t->name, "connection", &peer_accepted);
	net_write(peer, "220 mx\r\n", 8);
	skip_line(t->name, t->ehlo);
	skip_line(t->name, "250 m\r\n");
	skip_line(t->name, "250 r\r\n");
	skip_line(t->name, t->bdat ? NULL : "354 d\r\n");
	for (int i = 0; i < 5; i++) {
		net_pause(peer);
		turns(20);
		net_resume(peer);
		turns(20);
	}
	/* Undo the dots, a line at a time. */
	for (int64_t end = clock_mono_ms() + 10000; got.len < want && clock_mono_ms() < end; turns(1)) {
		const char *lf;

		while (got.len < want && peer_in.len > 0 &&
		    (lf = memchr(buf_peek(&peer_in), '\n', peer_in.len)) != NULL) {
			const char *p = buf_peek(&peer_in);
			size_t n = (size_t)(lf - p) + 1, dot = !t->bdat && *p == '.';

			buf_add(&got, p + dot, n - dot);
			buf_consume(&peer_in, n);
		}
	}
	ck_assert_uint_eq(got.len, want);
	ck_assert_int_eq(memcmp(buf_peek(&got), header, sizeof header - 1), 0);
	ck_assert_int_eq(memcmp(buf_peek(&got) + sizeof header - 1, big, BIG), 0);
	if (!t->bdat)
		expect_line(t->name, SLICE("."));
	net_write(peer, "250 ok\r\n", 8);
	expect_line(t->name, SLICE("QUIT"));
	buf_addc(&o.events, 0);
	ck_assert_ptr_nonnull(strstr(buf_peek(&o.events), "accepted [250]"));
	buf_fini(&o.events);
	net_free(peer);
	net_listener_free(l);
	turns(30);
	free(big);
	buf_fini(&got);
	buf_fini(&peer_in);
	event_free(o.later);
	tls_server_unref(server_tls);
	tls_client_unref(client_tls);
	event_base_free(base);
}
END_TEST

UNIT_MAIN("smtp_client",
    net_tls_init();
    tcase_add_loop_test(tc, script, 0, NELEMS(cases));
    tcase_add_test(tc, dripping_reply);
    tcase_add_loop_test(tc, big_content, 0, NELEMS(bigs));
)
