/* Prints the engine's own table: a line for each hook, with the verdicts that it takes. */
#include "config.h"

#include <stdio.h>

#include "policy/policy_int.h"

int
main(void)
{
	for (int h = 0; h < HOOKS; h++) {
		printf("%s", policy_hook_name((enum policy_hook)h));
		for (int k = VERDICT_NONE + 1; k <= VERDICT_IDENTITY; k++)
			if (policy_verdict_is_legal((enum policy_hook)h, (enum verdict_kind)k))
				printf(" %s", verdict_kind_name((enum verdict_kind)k));
		printf("\n");
	}
	return 0;
}
