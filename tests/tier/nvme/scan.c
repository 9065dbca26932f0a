#include "tests/tier/nvme/scan.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "base/hash.h"
#include "coherence/frame.h"

struct file {
	int fd;
	struct log_geometry g;
	uint8_t *data; /* one segment */
	uint32_t segment;
	uint64_t seq[4096]; /* of each segment's life */
};

static struct scan_part *more(struct scan_part **array, size_t *n)
{
	*array = realloc(*array, (*n + 1) * sizeof(**array));
	CHECK(*array);
	memset(&(*array)[*n], 0, sizeof(**array));
	return &(*array)[(*n)++];
}

static bool killed(const struct scan *s, const uint64_t key[4], uint64_t gen)
{
	for (size_t i = 0; i < s->n_tombs; i++)
		if (!memcmp(s->tomb[i].key, key, 32) && s->tomb[i].gen >= gen)
			return true;
	return false;
}

static bool verify(const struct file *f, const struct log_entry *e)
{
	uint64_t bytes = frame_extent_bytes(e->extent);

	return hash_payload(f->data + (size_t)e->unit * LOG_UNIT, bytes,
			    hash_part_seed((const uint8_t *)e->key,
					   (uint16_t)(e->part >> 16),
					   (uint16_t)e->part)) == e->checksum;
}

static void note_entry(struct scan *s, const struct file *f,
		       const struct log_entry *e)
{
	struct scan_part *p = NULL;

	for (size_t i = 0; i < s->n; i++)
		if (!memcmp(s->part[i].key, e->key, 32))
			p = &s->part[i];
	if (p && (p->gen > e->gen ||
		  (p->gen == e->gen && p->seq > f->seq[f->segment])))
		return;
	if (!p)
		p = more(&s->part, &s->n);
	memcpy(p->key, e->key, 32);
	p->gen = e->gen;
	p->seq = f->seq[f->segment];
	p->good = verify(f, e);
}

static void note_tomb(struct scan *s, const struct file *f,
		      const struct log_tomb *b)
{
	struct scan_part *p;

	if (b->segment >= f->g.segments || f->seq[b->segment] != b->seq)
		return;
	p = more(&s->tomb, &s->n_tombs);
	memcpy(p->key, b->key, 32);
	p->gen = b->gen;
}

static void scan_page(struct scan *s, const struct file *f, const uint8_t *page)
{
	struct log_record r;
	uint32_t bytes, at = 0;

	if (!log_commit_parse(page, &f->g, f->segment, f->seq[f->segment],
			      &bytes))
		return;
	while (log_record_next(&f->g, page + sizeof(struct log_head), bytes,
			       &at, &r) > 0) {
		if (r.kind == LOG_ENTRY)
			note_entry(s, f, &r.u.entry);
		else if (r.kind == LOG_TOMB)
			note_tomb(s, f, &r.u.tomb);
	}
}

static void load(struct file *f, uint32_t segment)
{
	f->segment = segment;
	CHECK_INT(pread(f->fd, f->data, f->g.segment_bytes,
			(off_t)log_at(&f->g, segment, 0)),
		  >=, 0);
}

static void scan_segments(struct scan *s, struct file *f, uint32_t there)
{
	for (uint32_t i = 0; i < there; i++) {
		f->seq[i] = 0;
		load(f, i);
		log_opened_parse(f->data, &f->g, i, &f->seq[i]);
	}
	for (uint32_t i = 0; i < there; i++) {
		load(f, i);
		for (uint32_t u = log_units(&f->g); f->seq[i] && u > 2; u--)
			scan_page(s, f, f->data + (u - 1) * LOG_UNIT);
	}
}

void scan_file(const char *path, struct scan *ret_scan)
{
	struct file *f = calloc(1, sizeof(*f));
	uint8_t page[LOG_UNIT];
	uint64_t epoch;
	struct stat st;
	size_t kept = 0;

	memset(ret_scan, 0, sizeof(*ret_scan));
	CHECK(f);
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0) { /* it died before it made the file */
		free(f);
		return;
	}
	CHECK(flock(f->fd, LOCK_EX) == 0);
	CHECK(fstat(f->fd, &st) == 0);
	CHECK(pread(f->fd, page, sizeof(page), 0) >= 0);
	if (st.st_size > LOG_FRONT_BYTES) {
		CHECK_OK(log_super_parse(page, &f->g, &epoch));
		CHECK_INT(f->g.segments, <=, ARRAY_LEN(f->seq));
		f->data = malloc(f->g.segment_bytes);
		CHECK(f->data);
		scan_segments(ret_scan, f,
			      (uint32_t)((st.st_size - LOG_FRONT_BYTES) /
					 (off_t)f->g.segment_bytes));
	}
	for (size_t i = 0; i < ret_scan->n; i++)
		if (!killed(ret_scan, ret_scan->part[i].key,
			    ret_scan->part[i].gen))
			ret_scan->part[kept++] = ret_scan->part[i];
	ret_scan->n = kept;
	close(f->fd);
	free(f->data);
	free(f);
}

void scan_fini(struct scan *s)
{
	free(s->part);
	free(s->tomb);
}

const struct scan_part *scan_find(const struct scan *s, const uint64_t key[4])
{
	for (size_t i = 0; i < s->n; i++)
		if (!memcmp(s->part[i].key, key, 32))
			return &s->part[i];
	return NULL;
}
