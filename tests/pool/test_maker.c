/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include "base/fault.h"
#include "pool/maker.h"
#include "tests/pool/fake_hold.h"
#include "tests/test.h"

static struct maker_job *job_of(uint64_t bytes)
{
	struct maker_job *job = calloc(1, sizeof(*job));

	CHECK(job);
	job->bytes = bytes;
	return job;
}

static bool readable(struct maker *m, int timeout_ms)
{
	struct pollfd p = { .fd = maker_fd(m), .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

static void makes(bool threaded)
{
	struct maker *m;
	struct maker_job *job;
	size_t fds = count_fds();
	unsigned done = 0;

	CHECK_OK(maker_create(threaded, &m));
	CHECK(!maker_take(m));
	CHECK(!readable(m, 0));
	for (unsigned i = 1; i <= 20; i++)
		maker_ask(m, job_of(i * 4096));
	while (done < 20) {
		CHECK(readable(m, 30000));
		while ((job = maker_take(m))) {
			const uint8_t *byte = job->segment.base;

			CHECK_OK(job->result);
			CHECK_INT(job->bytes, ==, ++done * 4096); /* order */
			CHECK_INT(job->segment.bytes, ==, job->bytes);
			CHECK_INT(byte[job->bytes - 1], ==, 0);
			segment_close(&job->segment);
			free(job);
		}
	}
	CHECK(!readable(m, 0));
	maker_destroy(m);
	CHECK_INT(count_fds(), ==, fds);
}

TEST(makes_at_once)
{
	makes(false);
}

TEST(makes_in_a_thread)
{
	makes(true);
}

TEST(drops_what_was_not_taken)
{
	size_t fds = count_fds();

	for (unsigned threaded = 0; threaded < 2; threaded++) {
		for (unsigned asked = 0; asked < 8; asked++) {
			struct maker *m;

			CHECK_OK(maker_create(threaded, &m));
			for (unsigned i = 0; i < asked; i++)
				maker_ask(m, job_of(65536));
			maker_destroy(m);
		}
	}
	maker_destroy(NULL);
	CHECK_INT(count_fds(), ==, fds);
}

TEST(reports_refused_memory)
{
	struct maker *m;
	struct maker_job *job;

	CHECK_OK(maker_create(false, &m));
	fault_arm(FAULT_MAP, 1, true);
	maker_ask(m, job_of(4096));
	fault_arm(0, 0, false);
	job = maker_take(m);
	CHECK(job);
	CHECK_INT(job->result, <, 0);
	CHECK_INT(job->segment.fd, ==, -1);
	free(job);
	maker_destroy(m);
}

TEST(survives_faults_at_birth)
{
	for (unsigned threaded = 0; threaded < 2; threaded++) {
		for (uint64_t nth = 1;; nth++) {
			size_t fds = count_fds();
			struct maker *m = NULL;
			int r;

			fault_arm(FAULT_ALL, nth, false);
			r = maker_create(threaded, &m);
			fault_arm(0, 0, false);
			if (r == 0) {
				maker_destroy(m);
				break;
			}
			CHECK(!m);
			CHECK_INT(count_fds(), ==, fds);
		}
	}
}
