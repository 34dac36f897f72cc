/* policy test, explain, session and repl: a gateway in a world that is made up. No daemon, no network. */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli_int.h"
#include "rehearsal/rehearsal.h"

#define BENCH_ROUNDS 20

static int
test(int argc, char **argv)
{
	enum { OPT_COVERAGE = 256, OPT_TAP, OPT_JUNIT, OPT_SEED, OPT_ONLY, OPT_BENCH };
	static const struct option options[] = {
		{ "coverage", optional_argument, NULL, OPT_COVERAGE }, { "tap", no_argument, NULL, OPT_TAP },
		{ "junit", required_argument, NULL, OPT_JUNIT }, { "seed", required_argument, NULL, OPT_SEED },
		{ "only", required_argument, NULL, OPT_ONLY }, { "bench", optional_argument, NULL, OPT_BENCH },
		{ NULL, 0, NULL, 0 },
	};
	struct test_conf tc = { .dir = ".", .least = -1, .seed = 1 };
	uint64_t rounds = BENCH_ROUNDS;
	char *end;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case OPT_COVERAGE:
			tc.coverage = true;
			if (optarg == NULL)
				break;
			tc.least = strtod(optarg, &end);
			if (end == optarg || *end != '\0' || tc.least < 0 || tc.least > 100)
				return cli_usage("--coverage: a percentage is expected");
			break;
		case OPT_TAP: tc.tap = true; break;
		case OPT_JUNIT: tc.junit = optarg; break;
		case OPT_ONLY: tc.only = optarg; break;
		case OPT_BENCH:
			if (optarg != NULL && (!slice_u64(slice_of(optarg), &rounds) || rounds == 0 || rounds > 10000))
				return cli_usage("--bench: a number of rounds from 1 to 10000 is expected");
			tc.rounds = (unsigned)rounds;
			break;
		case OPT_SEED:
			if (!slice_u64(slice_of(optarg), &tc.seed) || tc.seed == 0)
				return cli_usage("--seed: a number from 1 on is expected");
			break;
		default:
			return cli_usage("policy test: that option is not known");
		}
	}
	if (argc - optind > 1)
		return cli_usage("policy test: one folder is expected");
	if (argc > optind)
		tc.dir = argv[optind];
	return rehearsal_test(&tc);
}

static int
explain_or_session(int argc, char **argv)
{
	enum { OPT_FROM = 256, OPT_TO, OPT_HEADER, OPT_EML, OPT_IP, OPT_LISTENER, OPT_TLS, OPT_AUTH, OPT_LIVE, OPT_HELO,
		OPT_REQUIRETLS };
	static const struct option options[] = {
		{ "from", required_argument, NULL, OPT_FROM }, { "to", required_argument, NULL, OPT_TO },
		{ "header", required_argument, NULL, OPT_HEADER }, { "eml", required_argument, NULL, OPT_EML },
		{ "ip", required_argument, NULL, OPT_IP }, { "listener", required_argument, NULL, OPT_LISTENER },
		{ "tls", no_argument, NULL, OPT_TLS }, { "auth", required_argument, NULL, OPT_AUTH },
		{ "live-dns", no_argument, NULL, OPT_LIVE }, { "helo", required_argument, NULL, OPT_HELO },
		{ "requiretls", no_argument, NULL, OPT_REQUIRETLS }, { NULL, 0, NULL, 0 },
	};
	const char *to[100], *headers[100];
	struct explain_conf ec = { .dir = ".", .to = to, .headers = headers };
	bool is_explain = strcmp(argv[0], "explain") == 0;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case OPT_FROM: ec.from = optarg; break;
		case OPT_TO:
			if (ec.nto < NELEMS(to))
				to[ec.nto++] = optarg;
			break;
		case OPT_HEADER:
			if (strchr(optarg, ':') == NULL || strpbrk(optarg, "\r\n") != NULL)
				return cli_usage("--header: a field is expected, 'Subject: text'");
			if (ec.nheaders < NELEMS(headers))
				headers[ec.nheaders++] = optarg;
			break;
		case OPT_EML: ec.eml = optarg; break;
		case OPT_IP: ec.ip = optarg; break;
		case OPT_LISTENER: ec.listener = optarg; break;
		case OPT_TLS: ec.tls = true; break;
		case OPT_AUTH: ec.auth = optarg; break;
		case OPT_LIVE: ec.live_dns = true; break;
		case OPT_HELO: ec.helo = optarg; break;
		case OPT_REQUIRETLS: ec.requiretls = ec.tls = true; break;
		default: return cli_usage("that option is not known");
		}
	}
	if (argc - optind > 1)
		return cli_usage("one folder is expected");
	if (argc > optind)
		ec.dir = argv[optind];
	if (!is_explain)
		return rehearsal_session(&ec);
	if (ec.nto == 0)
		return cli_usage("policy explain: --to is missing");
	if (ec.from == NULL)
		ec.from = "";
	return rehearsal_explain(&ec);
}

static int
repl(int argc, char **argv)
{
	struct test_conf tc = { .dir = argc > 1 ? argv[1] : ".", .least = -1, .seed = 1 };

	return argc > 2 ? cli_usage("policy repl: one folder is expected") : rehearsal_repl(&tc);
}

int
cli_rehearse(int argc, char **argv)
{
	static const struct {
		const char *word;
		int (*run)(int argc, char **argv);
	} commands[] = { { "test", test }, { "explain", explain_or_session }, { "session", explain_or_session },
		{ "repl", repl } };

	if (argc < 3 || strcmp(argv[1], "policy") != 0)
		return -1;
	for (size_t i = 0; i < NELEMS(commands); i++)
		if (strcmp(commands[i].word, argv[2]) == 0)
			return commands[i].run(argc - 2, argv + 2);
	return -1;
}
