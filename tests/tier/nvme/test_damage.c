/*
 * A log that was damaged while nobody had it: whatever is done to it, what is read is
 * right or a miss, what lies elsewhere is there, and it goes on.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include "base/log.h"
#include "tests/tier/nvme/rig.h"

#define PARTS	24u
#define SEGMENT (256u << 10)
#define PAGES	(SEGMENT / LOG_UNIT)

struct image {
	struct rig g;
	uint8_t *data, *work;
	size_t bytes;
	uint32_t segment_of[PARTS]; /* where each part lies */
};

static void image_load(struct image *m)
{
	int fd = open(rig_file(&m->g), O_RDONLY | O_CLOEXEC);
	struct stat st;

	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	m->bytes = (size_t)st.st_size;
	m->data = malloc(m->bytes);
	m->work = malloc(m->bytes);
	CHECK(m->data && m->work);
	CHECK_INT(read(fd, m->data, m->bytes), ==, m->bytes);
	close(fd);
}

/* A log with parts, closed well or not. */
static void image_make(struct image *m, bool well)
{
	memset(m, 0, sizeof(*m));
	rig_init(&m->g, 4u << 20, SEGMENT);
	rig_open(&m->g);
	for (uint64_t n = 0; n < PARTS; n++) {
		struct tier_id id;
		uint32_t node;

		CHECK_OK(rig_write(&m->g, n, 20000 + n * 1000));
		rig_id(&m->g, n, &id);
		node = nvme_index_find(&nvme_of(m->g.t)->index, &id);
		m->segment_of[n] =
			nvme_node(&nvme_of(m->g.t)->index, node)->segment;
	}
	CHECK_INT(m->segment_of[PARTS - 1], >, 1);
	if (well)
		rig_stop(&m->g);
	else
		rig_close(&m->g);
	image_load(m);
}

static void image_fini(struct image *m)
{
	free(m->data);
	free(m->work);
	rig_fini(&m->g);
}

static void put(struct image *m, const uint8_t *data, size_t bytes)
{
	int fd = open(rig_file(&m->g), O_WRONLY | O_TRUNC | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_INT(write(fd, data, bytes), ==, bytes);
	close(fd);
}

static uint8_t *at(struct image *m, uint32_t segment, uint32_t unit)
{
	return m->work + LOG_FRONT_BYTES + (size_t)segment * SEGMENT +
	       (size_t)unit * LOG_UNIT;
}

/* Opens `work`; all that is not in segment a or b must be there. Returns how many
 * parts of those two were. */
static uint32_t judge(struct image *m, size_t bytes, uint32_t a, uint32_t b)
{
	uint32_t there = 0;
	bool right;

	put(m, m->work, bytes);
	rig_open(&m->g);
	rig_check(&m->g);
	for (uint64_t n = 0; n < PARTS; n++) {
		right = rig_read(&m->g, n) == 0; /* fails at wrong bytes */
		if (m->segment_of[n] == a || m->segment_of[n] == b)
			there += right;
		else
			CHECK(right);
		if (!right)
			CHECK_INT(rig_read(&m->g, n), ==, OC_MISS);
	}
	CHECK_OK(rig_write(&m->g, 1000, 0));
	CHECK_OK(rig_read(&m->g, 1000));
	rig_check(&m->g);
	rig_close(&m->g);
	return there;
}

static uint32_t parts_of(const struct image *m, uint32_t segment)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < PARTS; i++)
		n += m->segment_of[i] == segment;
	return n;
}

/* One bit in each page of a segment. */
static void flip_each(struct image *m, uint32_t segment)
{
	struct rng r = { segment };
	uint32_t lost = 0, most = parts_of(m, segment);

	for (uint32_t unit = 0; unit < PAGES; unit++) {
		memcpy(m->work, m->data, m->bytes);
		at(m, segment, unit)[rng_below(&r, LOG_UNIT)] ^=
			(uint8_t)(1u << rng_below(&r, 8));
		lost += most - judge(m, m->bytes, segment, segment);
	}
	CHECK_INT(lost, >, 0); /* some flips were seen */
}

TEST(flip_closed)
{
	struct image m;

	image_make(&m, true);
	flip_each(&m, 0);
	flip_each(&m, m.segment_of[PARTS - 1]);
	image_fini(&m);
}

TEST(flip_open)
{
	struct image m;

	image_make(&m, false);
	flip_each(&m, m.segment_of[PARTS - 1]);
	image_fini(&m);
}

/* The summary is read, and where it is damaged, the commit pages. */
TEST(summary_has_a_second)
{
	struct image m;
	struct log_head h;

	image_make(&m, true);
	memcpy(m.work, m.data, m.bytes);
	memcpy(&h, at(&m, 0, 1), sizeof(h));
	CHECK_INT(h.magic, ==, LOG_MAGIC_CLOSED);
	at(&m, 0, h.unit)[9] ^= 1;
	CHECK_INT(judge(&m, m.bytes, 0, 0), ==, parts_of(&m, 0));
	for (uint32_t unit = h.unit + 1; unit < PAGES; unit++) {
		memcpy(m.work, m.data, m.bytes);
		memset(at(&m, 0, unit), 0, LOG_UNIT);
		CHECK_INT(judge(&m, m.bytes, 0, 0), ==, parts_of(&m, 0));
	}
	image_fini(&m);
}

TEST(flip_front)
{
	struct rng r = { 1 };
	struct image m;

	image_make(&m, true);
	for (uint32_t page = 0; page < LOG_FRONT_BYTES / LOG_UNIT; page++) {
		memcpy(m.work, m.data, m.bytes);
		m.work[page * LOG_UNIT + rng_below(&r, LOG_UNIT)] ^= 4;
		judge(&m, m.bytes, UINT32_MAX, UINT32_MAX);
	}
	image_fini(&m);
}

static int refused(struct image *m)
{
	uint8_t *after = malloc(m->bytes);
	int fd, r;

	CHECK(after);
	put(m, m->work, m->bytes);
	r = rig_open_try(&m->g);
	/* not one byte of it was written */
	fd = open(rig_file(&m->g), O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(read(fd, after, m->bytes), ==, m->bytes);
	CHECK_MEM(after, m->work, m->bytes);
	close(fd);
	free(after);
	return r;
}

TEST(not_ours)
{
	struct image m;

	image_make(&m, true);
	memcpy(m.work, m.data, m.bytes);
	m.work[LOG_UNIT + 100] ^= 1;
	m.work[100] ^= 1; /* both superblocks are damaged */
	CHECK_INT(refused(&m), ==, -EPROTO);
	memset(m.work, 0, m.bytes); /* a file that somebody made */
	CHECK_INT(refused(&m), ==, -EPROTO);
	rig_fill(7, m.work, m.bytes);
	CHECK_INT(refused(&m), ==, -EPROTO);
	image_fini(&m);
}

TEST(other_version)
{
	struct log_super s;
	struct image m;

	image_make(&m, true);
	memcpy(m.work, m.data, m.bytes);
	for (unsigned i = 0; i < LOG_SUPERS; i++) {
		memcpy(&s, m.work + i * LOG_UNIT, sizeof(s));
		s.version = LOG_VERSION + 1;
		memcpy(m.work + i * LOG_UNIT, &s, sizeof(s));
	}
	CHECK_INT(refused(&m), ==, -EPROTONOSUPPORT);
	image_fini(&m);
}

TEST(truncated)
{
	struct image m;
	uint32_t last;

	image_make(&m, true);
	last = 0;
	for (unsigned i = 0; i < PARTS; i++)
		last = MAX(last, m.segment_of[i]);
	memcpy(m.work, m.data, m.bytes);
	for (uint32_t unit = 0; unit < PAGES; unit += 9)
		judge(&m,
		      LOG_FRONT_BYTES + (size_t)last * SEGMENT +
			      unit * LOG_UNIT + 100,
		      last, last);
	image_fini(&m);
}

static void swap(uint8_t *a, uint8_t *b, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		uint8_t t = a[i];

		a[i] = b[i];
		b[i] = t;
	}
}

TEST(swapped)
{
	struct image m;

	image_make(&m, true);
	memcpy(m.work, m.data, m.bytes);
	swap(at(&m, 0, 0), at(&m, 1, 0), SEGMENT);
	CHECK_INT(judge(&m, m.bytes, 0, 1), ==, 0);
	/* payload alone */
	memcpy(m.work, m.data, m.bytes);
	swap(at(&m, 0, 2), at(&m, 1, 2), SEGMENT / 2);
	judge(&m, m.bytes, 0, 1);
	/* the same page twice, within one segment */
	memcpy(m.work, m.data, m.bytes);
	memcpy(at(&m, 0, PAGES - 2), at(&m, 0, PAGES - 1), LOG_UNIT);
	CHECK_INT(judge(&m, m.bytes, 0, 0), ==, parts_of(&m, 0));
	image_fini(&m);
}

TEST(zeroed)
{
	struct image m;

	image_make(&m, true);
	for (uint32_t s = 0; s < 3; s++) {
		memcpy(m.work, m.data, m.bytes);
		memset(at(&m, s, 0), 0, SEGMENT);
		CHECK_INT(judge(&m, m.bytes, s, s), ==, 0);
		memcpy(m.work, m.data, m.bytes);
		memset(at(&m, s, 2), 0, SEGMENT / 2);
		judge(&m, m.bytes, s, s);
	}
	image_fini(&m);
}

/* A segment as it was in an earlier life: what it held then is right, what it
 * held later is a miss. */
TEST(old_segment)
{
	struct image m;
	uint8_t *old;

	image_make(&m, true);
	old = malloc(SEGMENT);
	CHECK(old);
	memcpy(m.work, m.data, m.bytes);
	memcpy(old, at(&m, 0, 0), SEGMENT);
	put(&m, m.work, m.bytes);
	rig_open(&m.g);
	for (uint64_t n = 2000; n < 2120; n++) /* segment 0 is made anew */
		CHECK_OK(rig_write(&m.g, n, 0));
	rig_stop(&m.g);
	free(m.data);
	free(m.work);
	image_load(&m);
	memcpy(m.work, m.data, m.bytes);
	CHECK(memcmp(old, at(&m, 0, 0), SEGMENT));
	memcpy(at(&m, 0, 0), old, SEGMENT);
	put(&m, m.work, m.bytes);
	rig_open(&m.g);
	rig_check(&m.g);
	for (uint64_t n = 0; n < 2120; n++)
		if (rig_has(&m.g, n))
			CHECK_OK(rig_read(&m.g, n));
	for (uint64_t n = 0; n < PARTS; n++)
		if (m.segment_of[n] == 0)
			CHECK(rig_has(&m.g, n) || m.g.gone);
	rig_close(&m.g);
	free(old);
	image_fini(&m);
}
