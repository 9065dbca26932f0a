/* A log's pages and records as they may lie on a disk. The first byte says what
 * the rest is taken for; records are read without a checksum before them. */
#include "base/log.h"
#include "coherence/frame.h"
#include "tier/nvme/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct log_geometry geometry = { .uuid = { 11, 22 },
					      .segment_bytes = 256u << 10,
					      .segments = 20 };

static void records(const uint8_t *data, uint32_t bytes)
{
	struct log_record r;
	uint32_t at = 0, before = 0;

	while (log_record_next(&geometry, data, bytes, &at, &r) > 0) {
		must(at > before && at <= bytes);
		before = at;
		must(r.space < LOG_SPACES_MAX);
		if (r.kind != LOG_ENTRY)
			continue;
		must(r.u.entry.unit >= LOG_FIRST_UNIT);
		must(r.u.entry.unit + log_units_of(frame_extent_bytes(
					      r.u.entry.extent)) <=
		     log_units(&geometry));
	}
}

static void page(uint8_t kind, const uint8_t *p)
{
	struct log_geometry g;
	uint32_t unit, bytes;
	uint64_t seq = 9;

	if (kind == 1 && log_super_parse(p, &g, &seq) == 0)
		must(g.segments >= LOG_SEGMENTS_MIN &&
		     g.segment_bytes <= LOG_SEGMENT_MAX);
	if (kind == 2)
		log_opened_parse(p, &geometry, 3, &seq);
	if (kind == 3 &&
	    log_closed_parse(p, &geometry, 3, 9, &unit, &bytes, &seq))
		must(unit + log_units_of(bytes) <= log_units(&geometry));
	if (kind == 4 && log_commit_parse(p, &geometry, 3, 9, &bytes))
		records(p + sizeof(struct log_head), bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t pages[LOG_BAD_BYTES];
	static struct log_bad bads[LOG_BADS_MAX];
	uint64_t seq;
	uint32_t n;

	if (size == 0)
		return 0;
	if (data[0] == 0) {
		records(data + 1, (uint32_t)MIN(size - 1, 65536u));
		return 0;
	}
	memset(pages, 0, sizeof(pages));
	memcpy(pages, data + 1, MIN(size - 1, sizeof(pages)));
	if (data[0] == 5 && log_bads_parse(pages, &geometry, &seq, bads, &n))
		must(n <= LOG_BADS_MAX);
	page(data[0], pages);
	return 0;
}
