/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/nvme/format.h"
#include <errno.h>
#include "base/hash.h"
#include "coherence/frame.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "words on disk are little-endian");
_Static_assert(sizeof(struct log_super) == 72, "as drawn");
_Static_assert(sizeof(struct log_bad) == 16, "as drawn");
_Static_assert(LOG_BAD_AT(2) <= LOG_PROBE_AT, "the front area holds all");
_Static_assert(LOG_PROBE_AT + LOG_UNIT == LOG_FRONT_BYTES, "and no more");

uint64_t log_stamp(void)
{
	static const uint64_t shape[] = {
		LOG_VERSION,
		LOG_UNIT,
		LOG_FRONT_BYTES,
		LOG_BAD_BYTES,
		LOG_BAD_AT(1),
		LOG_PROBE_AT,
		LOG_FIRST_UNIT,
		sizeof(struct log_super),
		sizeof(struct log_head),
		sizeof(struct log_bad),
		sizeof(struct log_entry),
		sizeof(struct log_tomb),
		sizeof(struct log_space),
		offsetof(struct log_super, segment_bytes),
		offsetof(struct log_super, epoch),
		offsetof(struct log_head, seq),
		offsetof(struct log_head, unit),
		offsetof(struct log_entry, key),
		offsetof(struct log_entry, gen),
		offsetof(struct log_tomb, seq),
		offsetof(struct log_space, space),
		LAYOUT_NAME,
		LOG_ENTRY,
		LOG_TOMB,
		LOG_SPACE,
	};

	return hash_bytes(shape, sizeof(shape), LOG_MAGIC_SUPER);
}

/* ---- the superblock ---------------------------------------------------------- */

static uint64_t super_checksum(const void *page)
{
	uint8_t copy[LOG_UNIT];

	memcpy(copy, page, sizeof(copy));
	memset(copy + offsetof(struct log_super, checksum), 0, 8);
	return hash_bytes(copy, sizeof(copy), LOG_MAGIC_SUPER);
}

void log_super_emit(void *page, const struct log_geometry *g, uint64_t epoch)
{
	struct log_super s = {
		.magic = LOG_MAGIC_SUPER,
		.version = LOG_VERSION,
		.stamp = log_stamp(),
		.uuid = { g->uuid[0], g->uuid[1] },
		.segment_bytes = g->segment_bytes,
		.segments = g->segments,
		.epoch = epoch,
	};

	memset(page, 0, LOG_UNIT);
	memcpy(page, &s, sizeof(s));
	s.checksum = super_checksum(page);
	memcpy(page, &s, sizeof(s));
}

int log_super_parse(const void *page, struct log_geometry *ret_geometry,
		    uint64_t *ret_epoch)
{
	struct log_super s;

	memcpy(&s, page, sizeof(s));
	if (s.magic != LOG_MAGIC_SUPER)
		return -EPROTO;
	if (s.version != LOG_VERSION)
		return -EPROTONOSUPPORT;
	if (s.checksum != super_checksum(page))
		return -EBADMSG;
	if (s.stamp != log_stamp())
		return -EPROTONOSUPPORT;
	if (s.segment_bytes < LOG_SEGMENT_MIN ||
	    s.segment_bytes > LOG_SEGMENT_MAX ||
	    (s.segment_bytes & (s.segment_bytes - 1)) ||
	    s.segments < LOG_SEGMENTS_MIN || s.segments > UINT32_MAX)
		return -EBADMSG;
	ret_geometry->uuid[0] = s.uuid[0];
	ret_geometry->uuid[1] = s.uuid[1];
	ret_geometry->segment_bytes = s.segment_bytes;
	ret_geometry->segments = (uint32_t)s.segments;
	*ret_epoch = s.epoch;
	return 0;
}

/* ---- pages of a segment ------------------------------------------------------- */

static uint64_t seed_of(const struct log_head *h)
{
	uint64_t words[5] = { h->magic, h->uuid[0], h->uuid[1], h->seq,
			      h->segment };

	return hash_bytes(words, sizeof(words), 0);
}

static uint64_t checksum_of(const void *pages, size_t bytes)
{
	struct log_head h;

	memcpy(&h, pages, sizeof(h));
	h.checksum = 0;
	return hash_bytes((const uint8_t *)pages + sizeof(h), bytes - sizeof(h),
			  hash_bytes(&h, sizeof(h), seed_of(&h)));
}

static void emit(void *pages, size_t bytes, struct log_head *h,
		 const struct log_geometry *g)
{
	h->uuid[0] = g->uuid[0];
	h->uuid[1] = g->uuid[1];
	memcpy(pages, h, sizeof(*h));
	h->checksum = checksum_of(pages, bytes);
	memcpy(pages, h, sizeof(*h));
}

static bool parse(const void *pages, size_t bytes, uint64_t magic,
		  const struct log_geometry *g, struct log_head *h)
{
	memcpy(h, pages, sizeof(*h));
	return h->magic == magic && h->uuid[0] == g->uuid[0] &&
	       h->uuid[1] == g->uuid[1] &&
	       h->checksum == checksum_of(pages, bytes);
}

void log_opened_emit(void *page, const struct log_geometry *g, uint32_t segment,
		     uint64_t seq)
{
	struct log_head h = { .magic = LOG_MAGIC_OPENED,
			      .seq = seq,
			      .segment = segment };

	memset(page, 0, LOG_UNIT);
	emit(page, LOG_UNIT, &h, g);
}

bool log_opened_parse(const void *page, const struct log_geometry *g,
		      uint32_t segment, uint64_t *ret_seq)
{
	struct log_head h;

	if (!parse(page, LOG_UNIT, LOG_MAGIC_OPENED, g, &h) ||
	    h.segment != segment)
		return false;
	*ret_seq = h.seq;
	return true;
}

uint64_t log_summary_checksum(const struct log_geometry *g, uint32_t segment,
			      uint64_t seq, const void *data, uint32_t bytes)
{
	struct log_head h = { .magic = LOG_MAGIC_CLOSED,
			      .uuid = { g->uuid[0], g->uuid[1] },
			      .seq = seq,
			      .segment = segment };

	return hash_bytes(data, bytes, seed_of(&h));
}

void log_closed_emit(void *page, const struct log_geometry *g, uint32_t segment,
		     uint64_t seq, uint32_t unit, const void *summary,
		     uint32_t bytes)
{
	struct log_head h = { .magic = LOG_MAGIC_CLOSED,
			      .seq = seq,
			      .segment = segment,
			      .bytes = bytes,
			      .unit = unit };

	h.summary = log_summary_checksum(g, segment, seq, summary, bytes);
	memset(page, 0, LOG_UNIT);
	emit(page, LOG_UNIT, &h, g);
}

bool log_closed_parse(const void *page, const struct log_geometry *g,
		      uint32_t segment, uint64_t seq, uint32_t *ret_unit,
		      uint32_t *ret_bytes, uint64_t *ret_checksum)
{
	struct log_head h;

	if (!parse(page, LOG_UNIT, LOG_MAGIC_CLOSED, g, &h) ||
	    h.segment != segment || h.seq != seq)
		return false;
	if (h.unit < LOG_FIRST_UNIT || h.unit > log_units(g) ||
	    log_units_of(h.bytes) > log_units(g) - h.unit)
		return false;
	*ret_unit = h.unit;
	*ret_bytes = h.bytes;
	*ret_checksum = h.summary;
	return true;
}

void log_commit_emit(void *page, const struct log_geometry *g, uint32_t segment,
		     uint64_t seq, uint32_t number, uint32_t bytes)
{
	struct log_head h = { .magic = LOG_MAGIC_COMMIT,
			      .seq = seq,
			      .segment = segment,
			      .number = number,
			      .bytes = bytes };

	memset((uint8_t *)page + sizeof(h) + bytes, 0,
	       LOG_COMMIT_BYTES - bytes);
	emit(page, LOG_UNIT, &h, g);
}

bool log_commit_parse(const void *page, const struct log_geometry *g,
		      uint32_t segment, uint64_t seq, uint32_t *ret_bytes)
{
	struct log_head h;

	if (!parse(page, LOG_UNIT, LOG_MAGIC_COMMIT, g, &h) ||
	    h.segment != segment || h.seq != seq || h.bytes > LOG_COMMIT_BYTES)
		return false;
	*ret_bytes = h.bytes;
	return true;
}

/* ---- bad places ---------------------------------------------------------------- */

void log_bads_emit(void *pages, const struct log_geometry *g, uint64_t seq,
		   const struct log_bad *bads, uint32_t n)
{
	struct log_head h = { .magic = LOG_MAGIC_BAD,
			      .seq = seq,
			      .bytes = n * (uint32_t)sizeof(*bads) };

	memset(pages, 0, LOG_BAD_BYTES);
	if (n)
		memcpy((uint8_t *)pages + sizeof(h), bads, h.bytes);
	emit(pages, LOG_BAD_BYTES, &h, g);
}

bool log_bads_parse(const void *pages, const struct log_geometry *g,
		    uint64_t *ret_seq, struct log_bad *bads, uint32_t *ret_n)
{
	struct log_head h;

	if (!parse(pages, LOG_BAD_BYTES, LOG_MAGIC_BAD, g, &h) ||
	    h.bytes > LOG_BADS_MAX * sizeof(*bads) || h.bytes % sizeof(*bads))
		return false;
	memcpy(bads, (const uint8_t *)pages + sizeof(h), h.bytes);
	*ret_n = h.bytes / (uint32_t)sizeof(*bads);
	*ret_seq = h.seq;
	return true;
}

/* ---- records ------------------------------------------------------------------- */

static uint32_t size_of(enum log_kind kind)
{
	switch (kind) {
	case LOG_ENTRY:
		return sizeof(struct log_entry);
	case LOG_TOMB:
		return sizeof(struct log_tomb);
	case LOG_SPACE:
		return sizeof(struct log_space);
	}
	return 0;
}

static bool entry_ok(const struct log_geometry *g, const struct log_entry *e)
{
	uint32_t units = log_units_of(frame_extent_bytes(e->extent));

	return units > 0 && e->unit >= LOG_FIRST_UNIT &&
	       e->unit < log_units(g) && units <= log_units(g) - e->unit;
}

static bool space_ok(const struct log_space *s)
{
	return s->space.tenant[LAYOUT_NAME - 1] == 0;
}

int log_record_next(const struct log_geometry *g, const void *data,
		    uint32_t bytes, uint32_t *at, struct log_record *ret)
{
	uint32_t tag, size;

	if (*at >= bytes)
		return 0;
	if (bytes - *at < sizeof(tag))
		return -EBADMSG;
	memcpy(&tag, (const uint8_t *)data + *at, sizeof(tag));
	ret->kind = (enum log_kind)(tag & 0xff);
	ret->space = tag >> 8;
	size = size_of(ret->kind);
	if (size == 0 || bytes - *at < size || ret->space >= LOG_SPACES_MAX)
		return -EBADMSG;
	memcpy(&ret->u, (const uint8_t *)data + *at, size);
	if ((ret->kind == LOG_ENTRY && !entry_ok(g, &ret->u.entry)) ||
	    (ret->kind == LOG_SPACE && !space_ok(&ret->u.space)))
		return -EBADMSG;
	*at += size;
	return 1;
}
