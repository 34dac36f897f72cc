/* policy test: a gateway in a world that is made up. No daemon, no network. */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli_int.h"
#include "rehearsal/rehearsal.h"

static int
test(int argc, char **argv)
{
	enum { OPT_COVERAGE = 256, OPT_TAP, OPT_JUNIT, OPT_SEED, OPT_ONLY };
	static const struct option options[] = {
		{ "coverage", optional_argument, NULL, OPT_COVERAGE }, { "tap", no_argument, NULL, OPT_TAP },
		{ "junit", required_argument, NULL, OPT_JUNIT }, { "seed", required_argument, NULL, OPT_SEED },
		{ "only", required_argument, NULL, OPT_ONLY }, { NULL, 0, NULL, 0 },
	};
	struct test_conf tc = { .dir = ".", .least = -1, .seed = 1 };
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

int
cli_rehearse(int argc, char **argv)
{
	static const struct {
		const char *word;
		int (*run)(int argc, char **argv);
	} commands[] = { { "test", test } };

	if (argc < 3 || strcmp(argv[1], "policy") != 0)
		return -1;
	for (size_t i = 0; i < NELEMS(commands); i++)
		if (strcmp(commands[i].word, argv[2]) == 0)
			return commands[i].run(argc - 2, argv + 2);
	return -1;
}
