/* Pages and records: what is written is read again, and nothing else is taken. */
#include "base/rng.h"
#include "coherence/frame.h"
#include "tests/test.h"
#include "tier/nvme/format.h"

static const struct log_geometry geometry = { .uuid = { 11, 22 },
					      .segment_bytes = 256u << 10,
					      .segments = 20 };

/* Every bit of a page is covered by its checksum. */
#define COVERED(page, expression)                                      \
	do {                                                           \
		for (unsigned bit_ = 0; bit_ < LOG_UNIT * 8; bit_++) { \
			(page)[bit_ / 8] ^= (uint8_t)(1u << bit_ % 8); \
			CHECK(expression);                             \
			(page)[bit_ / 8] ^= (uint8_t)(1u << bit_ % 8); \
		}                                                      \
	} while (0)

TEST(super)
{
	struct log_geometry g;
	uint8_t page[LOG_UNIT];
	uint64_t epoch;

	log_super_emit(page, &geometry, 77);
	CHECK_OK(log_super_parse(page, &g, &epoch));
	CHECK_INT(epoch, ==, 77);
	CHECK_INT(g.segment_bytes, ==, geometry.segment_bytes);
	CHECK_INT(g.segments, ==, 20);
	CHECK_INT(g.uuid[1], ==, 22);
	COVERED(page, log_super_parse(page, &g, &epoch) < 0);
	memset(page, 0, sizeof(page));
	CHECK_INT(log_super_parse(page, &g, &epoch), ==, -EPROTO);
}

TEST(opened)
{
	struct log_geometry other = geometry;
	uint8_t page[LOG_UNIT];
	uint64_t seq;

	log_opened_emit(page, &geometry, 3, 9);
	CHECK(log_opened_parse(page, &geometry, 3, &seq));
	CHECK_INT(seq, ==, 9);
	CHECK(!log_opened_parse(page, &geometry, 4, &seq));
	other.uuid[0]++;
	CHECK(!log_opened_parse(page, &other, 3, &seq));
	COVERED(page, !log_opened_parse(page, &geometry, 3, &seq));
}

TEST(closed)
{
	uint8_t page[LOG_UNIT], summary[1000] = { 1, 2, 3 };
	uint32_t unit, bytes;
	uint64_t checksum;

	log_closed_emit(page, &geometry, 3, 9, 40, summary, sizeof(summary));
	CHECK(log_closed_parse(page, &geometry, 3, 9, &unit, &bytes,
			       &checksum));
	CHECK_INT(unit, ==, 40);
	CHECK_INT(bytes, ==, sizeof(summary));
	CHECK_INT(checksum, ==,
		  log_summary_checksum(&geometry, 3, 9, summary, bytes));
	CHECK_INT(checksum, !=,
		  log_summary_checksum(&geometry, 3, 8, summary, bytes));
	CHECK(!log_closed_parse(page, &geometry, 3, 8, &unit, &bytes,
				&checksum));
	COVERED(page, !log_closed_parse(page, &geometry, 3, 9, &unit, &bytes,
					&checksum));
	/* a summary beyond the segment */
	log_closed_emit(page, &geometry, 3, 9, 64, summary, sizeof(summary));
	CHECK(!log_closed_parse(page, &geometry, 3, 9, &unit, &bytes,
				&checksum));
}

TEST(bads)
{
	static uint8_t pages[LOG_BAD_BYTES];
	static struct log_bad list[LOG_BADS_MAX], back[LOG_BADS_MAX];
	uint64_t seq;
	uint32_t n;

	for (unsigned i = 0; i < LOG_BADS_MAX; i++)
		list[i] = (struct log_bad){ i, i + 2, 1, 0 };
	log_bads_emit(pages, &geometry, 5, list, LOG_BADS_MAX);
	CHECK(log_bads_parse(pages, &geometry, &seq, back, &n));
	CHECK_INT(n, ==, LOG_BADS_MAX);
	CHECK_INT(seq, ==, 5);
	CHECK_MEM(list, back, sizeof(list));
	for (unsigned i = 0; i < LOG_BAD_BYTES; i += 37) {
		pages[i] ^= 8;
		CHECK(!log_bads_parse(pages, &geometry, &seq, back, &n));
		pages[i] ^= 8;
	}
}

static uint32_t records_make(uint8_t *at)
{
	struct log_space s = { .tag = LOG_SPACE | 5 << 8,
			       .space = { .tenant = "t" } };
	struct log_entry e = { .tag = LOG_ENTRY | 5 << 8,
			       .unit = 2,
			       .extent = frame_extent(5000, 16),
			       .gen = 4 };
	struct log_tomb b = { .tag = LOG_TOMB | 5 << 8, .seq = 1, .gen = 3 };
	uint32_t bytes = 0;

	memcpy(at, &s, sizeof(s));
	bytes += (uint32_t)sizeof(s);
	memcpy(at + bytes, &e, sizeof(e));
	bytes += (uint32_t)sizeof(e);
	memcpy(at + bytes, &b, sizeof(b));
	return bytes + (uint32_t)sizeof(b);
}

TEST(records)
{
	uint8_t page[LOG_UNIT];
	uint32_t bytes = records_make(page + sizeof(struct log_head));
	uint32_t got, at = 0, cut;
	struct log_record r;

	log_commit_emit(page, &geometry, 1, 2, 0, bytes);
	CHECK(log_commit_parse(page, &geometry, 1, 2, &got));
	CHECK_INT(got, ==, bytes);
	CHECK(!log_commit_parse(page, &geometry, 1, 3, &got));
	CHECK(!log_commit_parse(page, &geometry, 2, 2, &got));
	COVERED(page, !log_commit_parse(page, &geometry, 1, 2, &got));
	memmove(page, page + sizeof(struct log_head), bytes);
	CHECK_INT(log_record_next(&geometry, page, bytes, &at, &r), ==, 1);
	CHECK_INT(r.kind, ==, LOG_SPACE);
	CHECK_INT(r.space, ==, 5);
	CHECK_INT(log_record_next(&geometry, page, bytes, &at, &r), ==, 1);
	CHECK_INT(r.kind, ==, LOG_ENTRY);
	CHECK_INT(r.u.entry.gen, ==, 4);
	CHECK_INT(log_record_next(&geometry, page, bytes, &at, &r), ==, 1);
	CHECK_INT(r.kind, ==, LOG_TOMB);
	CHECK_INT(log_record_next(&geometry, page, bytes, &at, &r), ==, 0);
	for (cut = 1; cut < sizeof(struct log_space); cut++) {
		at = 0;
		CHECK_INT(log_record_next(&geometry, page, cut, &at, &r), ==,
			  -EBADMSG);
	}
}

TEST(records_that_are_none)
{
	struct log_entry e = { .tag = LOG_ENTRY, .unit = 63 };
	struct log_record r;
	uint32_t at = 0;

	e.extent = frame_extent(2 * LOG_UNIT, 0); /* beyond the segment */
	CHECK_INT(log_record_next(&geometry, &e, sizeof(e), &at, &r), ==,
		  -EBADMSG);
	e.extent = frame_extent(LOG_UNIT, 0);
	CHECK_INT(log_record_next(&geometry, &e, sizeof(e), &at, &r), ==, 1);
	at = 0;
	e.unit = 1; /* a first page */
	CHECK_INT(log_record_next(&geometry, &e, sizeof(e), &at, &r), ==,
		  -EBADMSG);
	e.tag = 99;
	CHECK_INT(log_record_next(&geometry, &e, sizeof(e), &at, &r), ==,
		  -EBADMSG);
}

TEST(stamp)
{
	CHECK_INT(log_stamp(), !=, 0);
	CHECK_INT(log_stamp(), ==, log_stamp());
}
