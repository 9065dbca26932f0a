/* SPDX-License-Identifier: Apache-2.0 */
/* What an adapter did. */
#include "adapters/llama/internal.h"

void oc_llama_computed(oc_llama *l, size_t tokens, uint64_t ns)
{
	l->stat.tokens_computed += tokens;
	l->stat.computed_ns += ns;
	/* A token alone costs more than one of a prompt. */
	if (tokens >= l->block_tokens) {
		plan_computed(&l->plan, tokens, ns);
		prefill_add(&l->prefill, l->depth, tokens, ns);
	}
	l->depth += tokens;
}

int oc_llama_stat(oc_llama *l, struct oc_llama_stat *ret_stat)
{
	struct oc_stat pool;

	*ret_stat = l->stat;
	ret_stat->way = l->way;
	ret_stat->block_tokens = l->block_tokens;
	ret_stat->block_bytes = l->block_bytes;
	ret_stat->private_bytes = l->n_ctx * l->shape.token_bytes;
	ret_stat->pool_bytes = 0;
	if (!llama_is_away(l) && oc_stat(l->client, &pool) == 0)
		ret_stat->pool_bytes = pool.sealed_bytes;
	return 0;
}
