#include "tests/tier/nvme/rig.h"
#include <fcntl.h>
#include <poll.h>
#include "base/fault.h"
#include "base/hash.h"
#include "coherence/frame.h"

static int table_open(void *ctx, const char *path, int flags, unsigned mode)
{
	(void)ctx;
	return nvme_io_real.open(NULL, path, flags, mode);
}

static uint64_t table_now(void *ctx)
{
	return ((struct rig *)ctx)->now;
}

static struct nvme_fate table_fate(void *ctx, enum nvme_op op, uint64_t offset,
				   uint64_t bytes)
{
	struct rig *g = ctx;
	struct nvme_fate (*fate)(struct rig *, enum nvme_op, uint64_t,
				 uint64_t) = g->fate;
	struct nvme_fate f = { 0 };

	if (fate)
		f = fate(g, op, offset, bytes);
	if (f.result || f.hold || f.bytes)
		return f;
	if (op == NVME_READ)
		f.result = g->fail_reads;
	else
		f.result = g->fail_writes;
	if (f.result == 0 && g->fail_next) {
		g->fail_next--;
		f.result = -EIO;
	}
	return f;
}

static bool table_held(void *ctx)
{
	return ((struct rig *)ctx)->held;
}

static void on_gone(void *ctx, const struct tier_id *id, bool wrong)
{
	struct rig *g = ctx;

	g->gone++;
	g->gone_wrong += wrong;
	if (g->on_gone)
		g->on_gone(g, id, wrong);
}

static void rig_begin(struct rig *g, uint64_t size, uint64_t segment)
{
	g->now = NS_PER_S;
	g->table = (struct nvme_io_table){ .open = table_open,
					   .now = table_now,
					   .fate = table_fate,
					   .held = table_held,
					   .ctx = g };
	nvme_io_use(&g->table);
	g->options = (struct tier_options){
		.path = g->dir,
		.size = size ? size : 4u << 20,
		.segment_bytes = segment ? segment : 256u << 10,
		.gone = on_gone,
		.ctx = g,
	};
}

static void init(struct rig *g, const char *at)
{
	const char *given = getenv("TMPDIR");

	memset(g, 0, sizeof(*g));
	snprintf(g->dir, sizeof(g->dir), "%s/onecopy-nvme-XXXXXX",
		 given && strlen(given) < 32 ? given : at);
	CHECK(mkdtemp(g->dir));
}

void rig_init(struct rig *g, uint64_t size, uint64_t segment)
{
	init(g, access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	rig_begin(g, size, segment);
}

void rig_init_on_disk(struct rig *g, uint64_t size, uint64_t segment)
{
	init(g, "/tmp");
	rig_begin(g, size, segment);
}

const char *rig_file(struct rig *g)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/onecopy.log", g->dir);
	return path;
}

void rig_fini(struct rig *g)
{
	rig_close(g);
	unlink(rig_file(g));
	rmdir(g->dir);
}

int rig_open_try(struct rig *g)
{
	g->options.now_ns = g->now;
	return tier_nvme.open(&g->options, &g->t);
}

void rig_turn(struct rig *g)
{
	struct pollfd p = { .fd = tier_nvme.fd(g->t), .events = POLLIN };
	const struct nvme *t = nvme_of(g->t);
	struct tier_stat s = rig_stat(g);
	bool busy = s.flying || s.queued || s.state == TIER_COMING ||
		    t->recovering || t->trial_step;

	poll(&p, 1, busy ? 10 : 0);
	tier_nvme.ready(g->t, g->now);
	g->now += NS_PER_MS;
	tier_nvme.tick(g->t, g->now);
}

void rig_wait_state(struct rig *g, enum tier_state state)
{
	while (rig_stat(g).state != state)
		rig_turn(g);
}

void rig_open(struct rig *g)
{
	struct tier_space space = { .tenant = "tenant" };

	CHECK_OK(rig_open_try(g));
	rig_wait_state(g, TIER_UP);
	memset(space.digest, 7, sizeof(space.digest));
	CHECK_OK(tier_nvme.space(g->t, &space, &g->space));
}

void rig_stop(struct rig *g)
{
	CHECK_OK(tier_nvme.stop(g->t, UINT64_MAX));
	rig_check(g);
	rig_close(g);
}

void rig_close(struct rig *g)
{
	tier_nvme.close(g->t);
	g->t = NULL;
}

static void problem(void *ctx, const char *text)
{
	(void)ctx;
	FAIL("%s", text);
}

void rig_check(struct rig *g)
{
	tier_nvme.check(g->t, problem, g);
}

struct tier_stat rig_stat(struct rig *g)
{
	struct tier_stat s;

	tier_nvme.stat(g->t, &s);
	return s;
}

void rig_id(const struct rig *g, uint64_t number, struct tier_id *ret_id)
{
	memset(ret_id, 0, sizeof(*ret_id));
	for (unsigned i = 0; i < 4; i++)
		ret_id->key[i] = hash_bytes(&number, sizeof(number), i);
	ret_id->space = g->space;
	ret_id->part = 1 << 16 | 2;
}

void rig_fill(uint64_t number, void *data, uint64_t bytes)
{
	struct rng r = { number };
	uint64_t *words = data;

	for (uint64_t i = 0; i < bytes / 8; i++)
		words[i] = rng_next(&r);
	for (uint64_t i = bytes & ~7ull; i < bytes; i++)
		((uint8_t *)data)[i] = (uint8_t)number;
}

void rig_move_done(struct tier_move *m, int result)
{
	struct rig_move *r = (struct rig_move *)m;

	CHECK(!r->over);
	r->over = true;
	r->result = result;
}

static void prepare(const struct rig *g, struct rig_move *m, uint64_t number,
		    uint64_t bytes)
{
	memset(m, 0, sizeof(*m));
	m->number = number;
	m->m.done = rig_move_done;
	rig_id(g, number, &m->m.id);
	m->m.room = ALIGN_UP(bytes, PAGE_BYTES);
	CHECK(posix_memalign(&m->m.data, PAGE_BYTES, m->m.room) == 0);
	memset(m->m.data, 0, m->m.room);
	m->m.urgency = TIER_WAITED;
}

int rig_write_begin(struct rig *g, struct rig_move *m, uint64_t number,
		    uint64_t bytes)
{
	int r;

	bytes = bytes ? bytes : RIG_PART;
	prepare(g, m, number, bytes);
	rig_fill(number, m->m.data, bytes);
	m->m.urgency = TIER_BEHIND;
	m->m.block.extent = frame_extent((uint32_t)bytes, 16);
	m->m.block.depth = (uint32_t)number;
	m->m.block.checksum = hash_payload(
		m->m.data, bytes,
		hash_part_seed((const uint8_t *)m->m.id.key, 1, 2));
	r = tier_nvme.write(g->t, &m->m);
	if (r)
		free(m->m.data);
	return r;
}

int rig_read_begin(struct rig *g, struct rig_move *m, uint64_t number)
{
	struct tier_found found;
	struct tier_id id;
	int r;

	rig_id(g, number, &id);
	if (!tier_nvme.find(g->t, &id, &found))
		return OC_MISS;
	prepare(g, m, number, frame_extent_bytes(found.block.extent));
	r = tier_nvme.read(g->t, &m->m);
	if (r)
		free(m->m.data);
	return r;
}

int rig_wait(struct rig *g, struct rig_move *m)
{
	while (!m->over)
		rig_turn(g);
	free(m->m.data);
	return m->result;
}

int rig_write(struct rig *g, uint64_t number, uint64_t bytes)
{
	struct rig_move m;
	int r;

	while ((r = rig_write_begin(g, &m, number, bytes)) == -ENOSPC)
		rig_turn(g);
	return r ? r : rig_wait(g, &m);
}

int rig_read(struct rig *g, uint64_t number)
{
	struct rig_move m;
	uint64_t bytes;
	uint8_t *want;
	int r = rig_read_begin(g, &m, number);

	if (r)
		return r;
	while (!m.over)
		rig_turn(g);
	if (m.result == 0) {
		bytes = frame_extent_bytes(m.m.block.extent);
		want = malloc(bytes);
		CHECK(want);
		rig_fill(number, want, bytes);
		CHECK_MEM(m.m.data, want, bytes);
		CHECK_INT(m.m.block.depth, ==, (uint32_t)number);
		free(want);
	}
	free(m.m.data);
	return m.result;
}

bool rig_has(struct rig *g, uint64_t number)
{
	struct tier_found found;
	struct tier_id id;

	rig_id(g, number, &id);
	return tier_nvme.find(g->t, &id, &found);
}

int rig_remove(struct rig *g, uint64_t number)
{
	struct tier_id id;

	rig_id(g, number, &id);
	return tier_nvme.remove(g->t, &id);
}
