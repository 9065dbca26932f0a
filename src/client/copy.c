/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in and out: checksums, filling a grant, the copying forms. */
#include "client/client.h"
#include "base/hash.h"

uint64_t oc_checksum(const struct oc_key *key, struct oc_part part,
		     const void *data, uint64_t bytes)
{
	return hash_payload(data, bytes,
			    hash_part_seed(key->bytes, part.group, part.rank));
}

uint64_t oc_fill(struct oc_grant *grant, const void *data, uint64_t bytes)
{
	uint64_t seed = hash_part_seed(grant->key.bytes, grant->part.group,
				       grant->part.rank);

	struct slices from = slices_whole(data), to = grant_slices(grant);

	grant->bytes = MIN(bytes, grant->bytes);
	return hash_slices_copy(&to, &from, grant->bytes, seed);
}

int oc_put(oc_ns *ns, const struct oc_key *key, struct oc_part part,
	   const void *data, uint64_t bytes, uint64_t timeout_ns)
{
	uint64_t deadline, checksum;
	struct oc_grant grant;
	int r;

	if (client_is_child(ns->c))
		return client_child(ns->c);
	deadline = client_deadline(ns->c, timeout_ns);
	r = oc_grant(ns, key, part, bytes, 0, timeout_ns, &grant);
	if (r == OC_EXISTS)
		return 0;
	if (r)
		return r;
	checksum = oc_fill(&grant, data, grant.bytes);
	if (timeout_ns != OC_NOWAIT) {
		uint64_t now = clock_ns();

		timeout_ns = now < deadline ? deadline - now : OC_NOWAIT;
	}
	r = oc_seal(ns, &grant, &checksum, timeout_ns);
	if (r == -ETIMEDOUT)
		oc_abandon(ns, &grant, OC_NOWAIT);
	return r == OC_EXISTS ? 0 : r;
}

int oc_get(oc_ns *ns, const struct oc_key *key, struct oc_part part, void *buf,
	   uint64_t cap, uint64_t *ret_bytes)
{
	struct slices from, to = slices_whole(buf);
	struct oc_pin pin;
	int r = oc_pin(ns, key, part, OC_PIN_VERIFY, &pin);

	if (r)
		return r == OC_BAD ? OC_MISS : r;
	*ret_bytes = pin.bytes;
	if (pin.bytes > cap) {
		r = client_fail(ns->c, -ENOSPC, "%llu bytes do not fit in %llu",
				(unsigned long long)pin.bytes,
				(unsigned long long)cap);
	} else {
		from = pin_slices(ns->c, &pin);
		slices_copy(&to, &from, pin.bytes);
		client_add(ns->c, CLIENT_COPIED_BYTES, pin.bytes);
	}
	oc_unpin(ns, &pin);
	return r;
}
