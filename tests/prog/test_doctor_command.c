/* SPDX-License-Identifier: Apache-2.0 */
/* The doctor's verdict, and the command on the real machine. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include "prog/doctor.h"
#include "tests/prog/run.h"
#include "tests/test.h"

/* ---- the verdict ---------------------------------------------------------------------------- */

static size_t index_of(const char *name)
{
	const struct doctor_probe *p = doctor_find(name);

	CHECK(p != NULL);
	return (size_t)(p - doctor_probes);
}

TEST(the_verdict)
{
	struct doctor_answer *a = doctor_answer_create(doctor_n_probes);
	struct doctor_verdict v;
	struct doctor_result *r;

	CHECK(a != NULL);
	doctor_decide(a, &v);
	CHECK_INT(v.status, ==, 0);
	CHECK_STR(v.why, "");
	/* a technique's gap does not matter, a limit is told */
	r = doctor_add(&a[index_of("uring")], "io_uring");
	doctor_worsen(r, DOCTOR_MISSING);
	doctor_limit(r, "epoll");
	doctor_decide(a, &v);
	CHECK_INT(v.status, ==, 0);
	CHECK_STR(v.why, "epoll");
	CHECK_INT(doctor_technique_state(a, DOCTOR_STORAGE), ==,
		  DOCTOR_LIMITED);
	CHECK_INT(doctor_technique_state(a, DOCTOR_NODE), ==, DOCTOR_OK);
	/* what a node needs does: a refusal, or the system's lack */
	r = doctor_add(&a[index_of("pidfd")], "death notices");
	doctor_failed(r, DOCTOR_MISSING, "pidfd_open", -EPERM);
	doctor_decide(a, &v);
	CHECK_INT(v.status, ==, 4);
	CHECK(strstr(v.why, "death notices: pidfd_open") != NULL);
	CHECK_INT(doctor_technique_state(a, DOCTOR_NODE), ==, DOCTOR_MISSING);
	r->error = -ENOSYS;
	doctor_decide(a, &v);
	CHECK_INT(v.status, ==, 6);
	doctor_answer_destroy(a, doctor_n_probes);
}

/* ---- the command ----------------------------------------------------------------------------- */

static void check_results(const json_t *technique)
{
	json_t *results = json_object_get(technique, "results"), *r, *gap;
	size_t i, k;

	CHECK_INT(json_array_size(results), >, 0);
	json_array_foreach(results, i, r) {
		const char *state =
			json_string_value(json_object_get(r, "state"));
		json_t *gaps = json_object_get(r, "gaps");

		CHECK(json_string_value(json_object_get(r, "name")));
		CHECK(json_string_value(json_object_get(r, "value"))[0]);
		CHECK(json_is_object(json_object_get(r, "facts")));
		/* what is not well says what that costs */
		CHECK(strcmp(state, "ok") == 0 || json_array_size(gaps) > 0);
		json_array_foreach(gaps, k, gap) {
			CHECK(json_string_value(
				json_object_get(gap, "cost"))[0]);
			CHECK(json_string_value(json_object_get(gap, "mend")));
		}
	}
}

static void check_report(struct run *r)
{
	static const char *const techniques[] = { "node",      "cxl",
						  "coherence", "network",
						  "storage",   "space",
						  "routing" };
	json_t *root = run_json(r), *main_job, *all;

	CHECK_INT(json_integer_value(json_object_get(root, "version")), ==, 1);
	main_job = json_object_get(root, "main_job");
	CHECK_INT(json_integer_value(json_object_get(main_job, "exit_status")),
		  ==, r->status);
	CHECK_INT(json_is_true(json_object_get(main_job, "can_run")), ==,
		  r->status == 0);
	all = json_object_get(root, "techniques");
	CHECK_INT(json_array_size(all), ==, ARRAY_LEN(techniques));
	for (size_t i = 0; i < ARRAY_LEN(techniques); i++) {
		json_t *t = json_array_get(all, i);

		CHECK_STR(json_string_value(json_object_get(t, "technique")),
			  techniques[i]);
		check_results(t);
	}
	json_decref(root);
}

TEST(the_report_of_this_machine)
{
	struct run r = RUN("doctor", "--json", "--quick", "--dir", run_dir());

	/* the tests of nodes run here, so a node can */
	CHECK_INT(r.status, ==, 0);
	check_report(&r);
	run_free(&r);
	r = RUN("doctor", "--quick", "--dir", run_dir());
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "\nmain job: can run") != NULL);
	CHECK(strstr(r.out, "KV-cache routing: ") != NULL);
	run_free(&r);
	/* nothing is left in the folder */
	CHECK_OK(rmdir(run_dir()));
}

/* A filter that makes a call fail with EPERM, for this process and its
 * children. */
static void refuse(unsigned call)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_LEN(filter), filter };

	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		SKIP("no seccomp filter can be set: %s", strerror(errno));
}

TEST(io_uring_refused_by_a_filter)
{
	struct run r;

	refuse(SYS_io_uring_setup);
	r = RUN("doctor", "--quick", "--dir", run_dir());
	CHECK_INT(r.status, ==, 0);
	CHECK(strstr(r.out, "refused by a seccomp filter") != NULL);
	CHECK(strstr(r.out, "can run, with limits: epoll") != NULL);
	run_free(&r);
	run_clean();
}

TEST(a_node_that_cannot_run)
{
	struct run r;

	refuse(SYS_pidfd_open);
	r = RUN("doctor", "--json", "--quick", "--dir", run_dir());
	CHECK_INT(r.status, ==, 4);
	check_report(&r);
	run_free(&r);
	run_clean();
}

TEST(bad_command_lines)
{
	struct run r = RUN("doctor", "word");

	CHECK_INT(r.status, ==, 2);
	run_free(&r);
	r = RUN("doctor", "--dir", "/no/such/folder");
	CHECK_INT(r.status, ==, 5);
	run_free(&r);
}
