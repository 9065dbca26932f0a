/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver: a private node, the actors, the kills, the rounds, the end.
 *
 * Kills come at times that the seed gives, spread over the whole run. A dead
 * actor's place is taken at once. Each round ends with all actors at rest: then
 * the dead must be buried, nothing may be lent, the pools are recounted, and
 * the history is judged.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/rng.h"
#include "node.h"
#include "progress.h"
#include "stop.h"
#include "torture.h"

#define ROUND_NS  (5 * NS_PER_S)
#define SETTLE_NS (20 * NS_PER_S)
#define POOLS	  2
/* Places in the calm pool for writers that are killed: each leaves slabs. */
#define CALM_WRITERS 12u

/* The calm pool has room for all that is ever written there at a time. */
static const char node_config[] = "dram: 424MiB\n"
				  "slab: 2MiB\n"
				  "tenants:\n"
				  "  - name: default\n"
				  "    dram: 128MiB\n"
				  "  - name: calm\n"
				  "    dram: 280MiB\n"
				  "resp:\n"
				  "  users:\n"
				  "    - {name: default, password: torture}\n"
				  "    - {name: calm, password: torture, "
				  "tenant: calm}\n";
static const char *const tenants[POOLS] = { "default", "calm" };

struct run {
	const struct torture_options *o;
	struct torture_result *result;
	struct node *node;
	struct torture_shared *shared;
	struct trial *trial;
	oc_client *control[POOLS];
	struct rng rng;
	char file[128];
	uint64_t start_ns, end_ns, round_ns;
	uint64_t *client_at, *server_at; /* when who is killed, ascending */
	uint32_t next_client, next_server, calm_writers;
};

static void nap(uint64_t ns)
{
	struct timespec t = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };

	nanosleep(&t, NULL);
}

static uint64_t random_below(struct run *t, uint64_t n)
{
	return rng_below(&t->rng, n);
}

/* ---- actors --------------------------------------------------------------------- */

static struct torture_place *place_of(const struct run *t, uint32_t i)
{
	return &t->shared->place[i];
}

/* The log of the i-th thread of all. */
static struct torture_log *log_of(const struct run *t, uint32_t i)
{
	return &place_of(t, i / t->o->threads)->log[i % t->o->threads];
}

static bool calm_writer(struct run *t, const struct torture_place *p)
{
	if (p->survivor)
		return true;
	if (t->calm_writers == 0 || random_below(t, 8))
		return false;
	t->calm_writers--;
	return true;
}

static int actor_start(struct run *t, uint32_t i)
{
	struct torture_place *p = place_of(t, i);
	struct torture_actor_options a = {
		.options = t->o,
		.socket = node_socket(t->node),
		.resp = node_port(t->node, LISTEN_RESP),
		.file = t->file[0] ? t->file : NULL,
		.shared = t->shared,
		.place = i,
		.calm_writer = calm_writer(t, p),
	};
	pid_t parent = getpid(), pid;

	p->incarnation++;
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		signal(SIGINT, SIG_IGN); /* the driver ends it */
		torture_actor(&a);
	}
	p->pid = pid;
	return 0;
}

/* What a thread had begun may have happened. */
static void close_record(struct torture_log *l)
{
	uint32_t n = atomic_load_explicit(&l->n, memory_order_acquire);

	if (atomic_load_explicit(&l->open, memory_order_acquire) &&
	    n < TORTURE_LOG &&
	    (l->record[n].op == TRIAL_SEAL ||
	     l->record[n].op == TRIAL_REPLACE ||
	     l->record[n].op == TRIAL_REMOVE)) {
		l->record[n].result = TRIAL_UNKNOWN;
		l->record[n].end_ns = UINT64_MAX;
		atomic_store_explicit(&l->n, n + 1, memory_order_relaxed);
	}
	atomic_store_explicit(&l->open, 0, memory_order_relaxed);
	atomic_store_explicit(&l->device, 0, memory_order_relaxed);
	atomic_store_explicit(&l->resting, TORTURE_RUN, memory_order_relaxed);
}

static void close_records(const struct run *t, struct torture_place *p)
{
	for (uint32_t i = 0; i < t->o->threads; i++)
		close_record(&p->log[i]);
}

/* Did a device write for one of its threads? */
static bool under_device(const struct run *t, const struct torture_place *p)
{
	bool is = false;

	for (uint32_t i = 0; i < t->o->threads; i++)
		is |= atomic_load_explicit(&p->log[i].device,
					   memory_order_relaxed) != 0;
	return is;
}

/* An actor that ends by itself has failed. */
static bool ended(struct run *t, struct torture_place *p)
{
	int status;

	if (!p->pid || waitpid(p->pid, &status, WNOHANG) != p->pid)
		return false;
	fprintf(stderr, "onecopy: torture: an actor ended: status %#x\n",
		(unsigned)status);
	t->result->failures++;
	p->pid = 0;
	close_records(t, p);
	return true;
}

static int look_for_ended(struct run *t)
{
	int r = 0;

	for (uint32_t i = 0; i < t->o->clients && r == 0; i++)
		if (ended(t, place_of(t, i)))
			r = actor_start(t, i);
	return r;
}

/* ---- kills ------------------------------------------------------------------------ */

/* Somebody who may be killed; those whose reads a device does, more often. */
static uint32_t victim(struct run *t)
{
	bool devices = t->o->plant_device || random_below(t, 3) == 0;
	uint32_t i;

	do {
		i = (uint32_t)random_below(t, t->o->clients);
	} while (place_of(t, i)->survivor || (devices && i % 4 != 1));
	return i;
}

static int kill_client(struct run *t)
{
	uint32_t i = victim(t);
	struct torture_place *p = place_of(t, i);

	t->next_client++;
	if (!p->pid)
		return 0;
	if (kill(p->pid, SIGKILL) < 0)
		return -errno;
	while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		;
	t->result->client_kills++;
	if (under_device(t, p))
		t->result->device_kills++;
	close_records(t, p);
	return actor_start(t, i);
}

/* The keeper's child; 0: none just now. */
static pid_t server_pid(const struct run *t)
{
	pid_t keeper = node_keeper_pid(t->node), pid = 0;
	char path[64], text[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)keeper,
		 (int)keeper);
	f = fopen(path, "re");
	if (!f) /* a kernel that does not tell */
		return node_server_pid(t->control[0], &pid) ? 0 : pid;
	if (fgets(text, sizeof(text), f))
		pid = (pid_t)strtol(text, NULL, 10);
	fclose(f);
	return pid;
}

/* Now and then the next one dies while it takes over. */
static int kill_server(struct run *t)
{
	pid_t pid = server_pid(t);

	if (pid <= 1)
		return 0; /* tried again */
	if (kill(pid, SIGKILL) < 0 && errno != ESRCH)
		return -errno;
	t->result->server_kills++;
	t->next_server++;
	if (t->next_server < t->o->server_kills && random_below(t, 6) == 0)
		t->server_at[t->next_server] =
			clock_ns() + random_below(t, 60 * NS_PER_MS);
	return 0;
}

static int kill_due(struct run *t, uint64_t now)
{
	int r = 0;

	while (r == 0 && t->next_client < t->o->kills &&
	       t->client_at[t->next_client] <= now)
		r = kill_client(t);
	if (r == 0 && t->next_server < t->o->server_kills &&
	    t->server_at[t->next_server] <= now)
		r = kill_server(t);
	return r;
}

static int ascending(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return (a > b) - (a < b);
}

static int plan(struct run *t, uint32_t n, uint64_t **ret_at)
{
	uint64_t span = t->end_ns - t->start_ns;
	uint64_t *at = mem_array(n + 1ull, sizeof(*at));

	if (!at)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		at[i] = t->start_ns + span / 50 +
			random_below(t, span - span / 25);
	qsort(at, n, sizeof(*at), ascending);
	*ret_at = at;
	return 0;
}

/* ---- rounds ------------------------------------------------------------------------- */

static bool rests_in(const struct run *t, const struct torture_place *p,
		     uint32_t phase)
{
	for (uint32_t i = 0; i < t->o->threads; i++)
		if (atomic_load_explicit(&p->log[i].resting,
					 memory_order_acquire) != phase)
			return false;
	return true;
}

static bool all_rest(struct run *t, uint32_t phase)
{
	for (uint32_t i = 0; i < t->o->clients; i++) {
		struct torture_place *p = place_of(t, i);

		if (p->pid && !ended(t, p) && !rests_in(t, p, phase))
			return false;
	}
	return true;
}

static uint32_t alive(const struct run *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->o->clients; i++)
		n += place_of(t, i)->pid != 0;
	return n;
}

/* The dead are buried, and nothing is lent or on its way. */
static bool settled(struct run *t)
{
	for (unsigned i = 0; i < POOLS; i++) {
		struct oc_stat s;

		if (oc_stat(t->control[i], &s) || s.clients != alive(t) + 1 ||
		    s.granted)
			return false;
	}
	return true;
}

static bool waited_for(struct run *t, bool (*is)(struct run *t))
{
	uint64_t until = clock_ns() + SETTLE_NS;

	while (!is(t)) {
		if (clock_ns() > until)
			return false;
		nap(NS_PER_MS);
	}
	return true;
}

static bool rests(struct run *t)
{
	return all_rest(t, TORTURE_REST);
}

static bool has_released(struct run *t)
{
	return all_rest(t, TORTURE_RELEASE);
}

static void said(struct run *t, const char *text)
{
	t->result->failures++;
	fprintf(stderr, "onecopy: torture: %s\n", text);
}

/* The pools recounted while nobody has anything in hand. */
static void recount(struct run *t, bool at_end)
{
	for (unsigned i = 0; i < POOLS; i++) {
		json_t *root = NULL, *seen, *problem;
		uint64_t known;
		size_t n;

		if (ask_json(t->control[i], "check", NULL, &root)) {
			said(t, "the node does not recount itself");
			return;
		}
		seen = json_object_get(root, "checked");
		json_array_foreach(json_object_get(root, "problems"), n,
				   problem) {
			t->result->problems++;
			fprintf(stderr, "onecopy: torture: %s: %s\n",
				tenants[i], json_string_value(problem));
		}
		known = ask_u64(seen, "free") + ask_u64(seen, "sealed") +
			ask_u64(seen, "quarantined") +
			(at_end ? 0 : ask_u64(seen, "leaving"));
		t->result->leaked_frames += ask_u64(seen, "frames") - known;
		json_decref(root);
	}
}

static void gather(struct run *t)
{
	for (uint32_t i = 0; i < t->o->clients * t->o->threads; i++) {
		struct torture_log *l = log_of(t, i);
		uint32_t n = atomic_load_explicit(&l->n, memory_order_acquire);

		t->result->records += n;
		if (trial_add(t->trial, l->record, n))
			said(t, "no memory for the history");
		atomic_store_explicit(&l->n, 0, memory_order_relaxed);
	}
	if (trial_round(t->trial, clock_ns(), t->result->illegal))
		said(t, "no memory for the history");
}

static void phase(struct run *t, enum torture_phase p)
{
	atomic_store_explicit(&t->shared->phase, p, memory_order_release);
}

static int end_round(struct run *t)
{
	phase(t, TORTURE_REST);
	if (!waited_for(t, rests)) {
		said(t, "actors do not come to rest");
		return -ETIMEDOUT;
	}
	if (!waited_for(t, settled))
		said(t, "dead clients or grants are still there");
	recount(t, false);
	gather(t);
	t->result->rounds++;
	phase(t, TORTURE_RUN);
	t->round_ns = clock_ns() + ROUND_NS;
	return look_for_ended(t);
}

/* The server ends when it is killed here and never otherwise: who is killed by
 * the keeper was silent, and a status is a failed assertion or a sanitizer's. */
static void judge_log(struct run *t)
{
	static const char by[] = "the server was ended by signal ",
			  with[] = "the server ended with status ";
	uint64_t killed = 0, others = 0;
	char line[512], path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/log", node_dir(t->node));
	f = fopen(path, "re");
	if (!f) {
		said(t, "the node has no log");
		return;
	}
	while (fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, by);

		if (at && strtol(at + sizeof(by) - 1, NULL, 10) == SIGKILL)
			killed++;
		else if (at || strstr(line, with))
			others++;
		if (others || strstr(line, "Sanitizer"))
			fprintf(stderr, "node: %s", line);
	}
	fclose(f);
	if (others || killed > t->result->server_kills)
		said(t, "the server ended by itself");
}

/* ---- the end --------------------------------------------------------------------------- */

static uint64_t pins_held(struct run *t)
{
	uint64_t pins = 0;

	for (unsigned i = 0; i < POOLS; i++) {
		json_t *root = NULL, *client;
		size_t n;

		if (ask_json(t->control[i], "stat", NULL, &root)) {
			said(t, "the node does not tell of its clients");
			continue;
		}
		json_array_foreach(json_object_get(root, "clients"), n, client)
			pins += ask_u64(client, "pins");
		json_decref(root);
	}
	return pins;
}

/* No frame that is only pinned, no session of the dead: the leases of those
 * that were paused are short. */
static bool nothing_is_left(struct run *t)
{
	uint64_t left = 0;

	for (unsigned i = 0; i < POOLS; i++) {
		json_t *root = NULL;

		if (ask_json(t->control[i], "stat", NULL, &root))
			return false;
		left += ask_u64(json_object_get(root, "counters"), "leaving");
		left += ask_u64(json_object_get(root, "counters"), "sessions");
		json_decref(root);
	}
	return left == 0;
}

static void read_counters(struct run *t)
{
	struct torture_result *r = t->result;

	for (unsigned i = 0; i < POOLS; i++) {
		json_t *root = NULL, *c;

		if (ask_json(t->control[i], "stat", NULL, &root))
			continue;
		c = json_object_get(root, "counters");
		if (i == 0)
			r->evicted = ask_u64(c, "evicted");
		else
			r->calm_evicted = ask_u64(c, "evicted");
		r->quarantines += ask_u64(c, "quarantines");
		r->forks += ask_u64(c, "forks");
		r->leaked_sessions += ask_u64(c, "sessions");
		r->quarantined += ask_u64(c, "quarantined");
		json_decref(root);
	}
}

static void actors_end(struct run *t)
{
	phase(t, TORTURE_END);
	for (uint32_t i = 0; i < t->o->clients; i++) {
		struct torture_place *p = place_of(t, i);
		int status = 0;

		if (!p->pid)
			continue;
		while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status)
			said(t, "an actor did not end well");
		p->pid = 0;
	}
}

static void finish(struct run *t)
{
	struct torture_result *r = t->result;

	if (end_round(t))
		return;
	phase(t, TORTURE_RELEASE);
	if (!waited_for(t, has_released))
		said(t, "actors do not come to rest");
	r->leaked_pins = pins_held(t);
	actors_end(t);
	if (!waited_for(t, settled))
		said(t, "dead clients or grants are still there");
	waited_for(t, nothing_is_left);
	recount(t, true);
	read_counters(t);
	judge_log(t);
	if (r->calm_evicted)
		said(t, "the calm pool evicted: it was too small for this run");
	for (uint32_t i = 0; i < t->o->clients * t->o->threads; i++) {
		struct torture_log *l = log_of(t, i);

		r->ops += atomic_load(&l->ops);
		r->resp_ops += atomic_load(&l->resp_ops);
		r->wrong_bytes += atomic_load(&l->wrong_bytes);
		r->generations += atomic_load(&l->generations);
		r->sessions += atomic_load(&l->sessions);
		r->errors += atomic_load(&l->errors);
		for (unsigned k = 0; k < TORTURE_CALLS_USED; k++)
			r->stall_ns[k] = MAX(r->stall_ns[k],
					     atomic_load(&l->stall_ns[k]));
	}
}

/* ---- the run ----------------------------------------------------------------------------- */

static int drive(struct run *t)
{
	int r = 0;

	while (r == 0 && clock_ns() < t->end_ns) {
		uint64_t now = clock_ns();

		if (stop_wanted())
			return -EINTR;
		progress_show(t->o->terminal, "torture",
			      (double)(now - t->start_ns) /
				      (double)(t->end_ns - t->start_ns));
		r = kill_due(t, now);
		if (r == 0 && now >= t->round_ns)
			r = end_round(t);
		if (r == 0)
			r = look_for_ended(t);
		nap(2 * NS_PER_MS);
	}
	/* what is late */
	while (r == 0 && t->next_client < t->o->kills)
		r = kill_client(t);
	while (r == 0 && t->next_server < t->o->server_kills) {
		r = kill_server(t);
		nap(20 * NS_PER_MS);
	}
	return r;
}

/* What devices read. Without a file that can be read so, none do. */
static void make_file(struct run *t)
{
	struct torture_device *d = NULL;
	void *slice = malloc(TORTURE_SLICE);
	int fd, r = slice ? 0 : -ENOMEM;

	snprintf(t->file, sizeof(t->file), "%s/slices", node_dir(t->node));
	fd = open(t->file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	for (uint32_t i = 0; i < TORTURE_SLICES && fd >= 0 && r == 0; i++) {
		torture_slice_fill(i, slice);
		if (write(fd, slice, TORTURE_SLICE) != (ssize_t)TORTURE_SLICE)
			r = -EIO;
	}
	if (fd < 0 || fsync(fd) < 0 || r)
		r = -EIO;
	fd_close(fd);
	free(slice);
	if (r == 0)
		r = torture_device_open(t->file, &d);
	torture_device_close(d); /* it can be: actors have their own */
	t->result->device = r == 0;
	if (r) {
		fprintf(stderr,
			"onecopy: torture: no direct reads into frames: %s\n",
			strerror(-r));
		t->file[0] = '\0';
	}
}

static int control_open(struct run *t)
{
	int r = 0;

	for (unsigned i = 0; i < POOLS && r == 0; i++) {
		struct oc_client_options client = {
			.size = sizeof(client),
			.socket = node_socket(t->node),
			.tenant = tenants[i],
			.name = "torture driver",
			.read_only = true,
			.timeout_ns = 20 * NS_PER_S,
		};

		r = oc_client_connect(&client, &t->control[i], NULL);
	}
	return r;
}

static int begin(struct run *t)
{
	size_t bytes = sizeof(*t->shared) +
		       t->o->clients * sizeof(struct torture_place);
	int r = trial_create(NULL, NULL, &t->trial);

	if (r)
		return r;
	t->shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->shared == MAP_FAILED)
		return -ENOMEM;
	make_file(t);
	r = control_open(t);
	t->start_ns = clock_ns();
	t->end_ns = t->start_ns + t->o->seconds * NS_PER_S;
	t->round_ns = t->start_ns + MIN(ROUND_NS, t->o->seconds * NS_PER_S / 3);
	if (r == 0)
		r = plan(t, t->o->kills, &t->client_at);
	if (r == 0)
		r = plan(t, t->o->server_kills, &t->server_at);
	for (uint32_t i = 0; i < t->o->clients && r == 0; i++) {
		place_of(t, i)->survivor = i % 4 == 0;
		r = actor_start(t, i);
	}
	return r;
}

/* Whatever happened: nobody stays behind. */
static void run_fini(struct run *t)
{
	for (uint32_t i = 0;
	     t->shared && t->shared != MAP_FAILED && i < t->o->clients; i++) {
		pid_t pid = place_of(t, i)->pid;

		if (!pid)
			continue;
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	/* slow devices whose actor was killed: the node's group is another */
	while (waitpid(0, NULL, 0) > 0 || errno == EINTR)
		;
	for (unsigned i = 0; i < POOLS; i++)
		oc_client_close(t->control[i]);
	node_stop(t->node);
	trial_destroy(t->trial);
	free(t->client_at);
	free(t->server_at);
}

int torture_run(const struct torture_options *options,
		struct torture_result *ret_result)
{
	struct node_options node = { .config = node_config,
				     .doors = 1u << LISTEN_RESP };
	struct run t = {
		.o = options,
		.result = ret_result,
		.rng = { options->seed },
		.calm_writers = CALM_WRITERS,
	};
	char error[NODE_ERROR] = "";
	int r;

	*ret_result = (struct torture_result){ 0 };
	/* of what dead actors leave, to wait for it */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return -errno;
	r = node_start(&node, &t.node, error);
	if (r) {
		fprintf(stderr, "onecopy: torture: %s\n", error);
		return r;
	}
	r = begin(&t);
	if (r == 0)
		r = drive(&t);
	progress_clear(options->terminal);
	ret_result->elapsed_ns = clock_ns() - t.start_ns;
	if (r == 0)
		finish(&t);
	run_fini(&t);
	return r;
}

bool torture_is_right(const struct torture_result *r)
{
	uint64_t illegal = r->generations + r->sessions;

	for (unsigned i = 0; i < TRIAL_WRONGS; i++)
		illegal += r->illegal[i];
	return !illegal && !r->wrong_bytes && !r->leaked_frames &&
	       !r->leaked_pins && !r->leaked_sessions && !r->problems &&
	       !r->failures;
}
