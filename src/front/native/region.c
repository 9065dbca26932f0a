/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors of slabs and of the index, on request. The owner of a slab gets
 * its payload writable, everyone else a descriptor that can only be read.
 * That a client was given a slab is noted before the message leaves: the slab
 * cannot end without that client's word.
 */
#include <errno.h>
#include <fcntl.h>
#include "base/fault.h"
#include "front/native/session.h"
#include "store/shard.h"

static int payload_fd(const struct pool_slab *slab, bool writable, int *ret_fd)
{
	int fd;

	if (!writable)
		return segment_reopen_readonly(slab->payload.fd, ret_fd);
	fd = fault_point(FAULT_IO)
		     ? -1
		     : fcntl(slab->payload.fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -EMFILE;
	*ret_fd = fd;
	return 0;
}

void region_handle(struct session *s, const struct msg_region *question)
{
	struct pool *p = s->client->pool;
	struct pool_slab *slab = pool_slab_at(p, question->region);
	uint64_t seq = question->head.seq;
	union msg m;
	int fds[2] = { -1, -1 }, r;
	bool writable;

	if (!slab || slab->retiring || slab->gen != question->generation) {
		session_refuse(s, seq, -ESTALE, "no such region now");
		return;
	}
	writable = slab->owner == s->client->id && !s->client->read_only;
	r = payload_fd(slab, writable, &fds[0]);
	if (r == 0)
		r = segment_reopen_readonly(slab->desc_segment.fd, &fds[1]);
	if (r < 0) {
		session_refuse(s, seq, r, "the node is out of descriptors");
	} else {
		store_region_given(s->client, slab->id);
		msg_init(&m, MSG_REGION, seq);
		m.region.region = slab->id;
		m.region.writable = writable;
		m.region.generation = slab->gen;
		m.region.bytes = slab->payload.bytes;
		m.region.desc_bytes = slab->desc_segment.bytes;
		session_send(s, &m, fds, 2);
	}
	fd_close(fds[0]);
	fd_close(fds[1]);
}

void index_handle(struct session *s, const struct msg_index *question)
{
	struct pool *p = s->client->pool;
	union msg m;
	int fd = -1;
	int r = segment_reopen_readonly(p->index_segment.fd, &fd);

	if (r < 0) {
		session_refuse(s, question->head.seq, r,
			       "the node is out of descriptors");
		return;
	}
	msg_init(&m, MSG_INDEX, question->head.seq);
	m.index.epoch = shared_load64(&p->m->header.index_epoch);
	m.index.bytes = p->index_segment.bytes;
	session_send(s, &m, &fd, 1);
	fd_close(fd);
}

/* Whoever has it can write what nodes and clients agree on there, so a client that
 * may only read is not given it. */
void cxl_handle(struct session *s, const struct msg_cxl *question)
{
	struct store_region_access access = { .fd = -1 };
	union msg m;
	int r = s->client->read_only
			? -EPERM
			: store_region_open(s->native->options.store,
					    s->client->pool, &access);

	if (r < 0) {
		session_refuse(s, question->head.seq, r,
			       r == -ENOENT
				       ? "this tenant has no CXL region here"
				       : "no CXL region for this client");
		return;
	}
	msg_init(&m, MSG_CXL, question->head.seq);
	memcpy(m.cxl.host, access.host, sizeof(m.cxl.host));
	session_send(s, &m, &access.fd, 1);
	fd_close(access.fd);
}
