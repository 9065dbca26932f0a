/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/front/told.h"
#include "tier/tier.h"

static const struct world_config config = {
	.limit = 64 << 20,
	.slab_bytes = 2 << 20,
};

struct told *told_create(void)
{
	struct told *t = calloc(1, sizeof(*t));
	struct sim *c;
	struct pool *odd;

	CHECK(t);
	t->w = world_create(&config);
	/* the world says that it is measured already */
	CHECK_OK(tier_publish(&tier_dram, t->w->p->m, 1));
	store_pool_serve(t->w->p);
	CHECK_OK(store_pool_add(t->w->s, "od\"d\\", 1 << 20, &odd));
	store_pool_serve(odd);
	c = sim_add(t->w, 0);
	for (uint64_t n = 0; n < 5; n++)
		sim_put(c, n, PART);
	report_init(&t->report, t->w->s, NULL, "1.2.3");
	report_tick(&t->report, t->report.start_ns);
	t->door.name = "resp";
	t->door.kind[0] = "get";
	t->door.kind[1] = "set";
	for (unsigned k = 0; k < DOOR_KINDS_MAX; k++)
		hist_init(&t->door.time_ns[k]);
	for (uint64_t us = 1; us <= 100; us++)
		hist_add(&t->door.time_ns[0], us * 1000);
	door_count(&t->door, 0, DOOR_C_hits, 90);
	door_count(&t->door, 1, DOOR_C_hits, 10);
	door_count(&t->door, DOOR_NO_TENANT, DOOR_C_connections, 3);
	door_count(&t->door, 0, DOOR_C_connections_now, 2);
	CHECK_OK(report_door_add(&t->report, &t->door));
	return t;
}

void told_destroy(struct told *t)
{
	world_destroy(t->w);
	free(t);
}

char *told_source(const char *path)
{
	const char *folder = getenv("ONECOPY_SOURCE");
	char name[512], *text;
	long bytes;
	FILE *f;

	if (!folder)
		SKIP("ONECOPY_SOURCE does not say where the sources are");
	snprintf(name, sizeof(name), "%s/%s", folder, path);
	f = fopen(name, "re");
	if (!f)
		FAIL("%s: %s", name, strerror(errno));
	CHECK_INT(fseek(f, 0, SEEK_END), ==, 0);
	bytes = ftell(f);
	rewind(f);
	text = calloc(1, (size_t)bytes + 1);
	CHECK(text);
	CHECK_INT(fread(text, 1, (size_t)bytes, f), ==, bytes);
	fclose(f);
	return text;
}
