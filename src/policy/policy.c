/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/policy.h"

static const struct policy_ops *const policies[] = {
	&policy_lru,
	&policy_onecopy,
};

const struct policy_ops *policy_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(policies); i++)
		if (name && !strcmp(policies[i]->name, name))
			return policies[i];
	return NULL;
}
