/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors of slabs that a client keeps. */
#include <sys/stat.h>
#include <unistd.h>
#include "client/client.h"
#include "tests/client/fake.h"
#include "tests/test.h"

static const struct oc_part P0 = { 0, 0 };

static ino_t inode_of(int fd)
{
	struct stat st;

	CHECK_OK(fstat(fd, &st));
	return st.st_ino;
}

static ino_t ask(oc_client *c)
{
	int fd;
	ino_t inode;

	CHECK_OK(region_descriptor(c, FAKE_OTHER, client_deadline(c, 0), &fd));
	inode = inode_of(fd);
	close(fd);
	return inode;
}

static void seal_and_pin(struct fake *f, oc_ns *ns, uint64_t n, uint64_t gen)
{
	struct oc_key key = fake_key(n);
	struct oc_pin pin;

	pthread_mutex_lock(&f->lock);
	fake_seal(f, FAKE_OTHER, 0, gen, &key, frame_part(1, 0, 0));
	pthread_mutex_unlock(&f->lock);
	CHECK_OK(oc_pin(ns, &key, P0, 0, &pin));
	oc_unpin(ns, &pin);
}

TEST(fake_a_descriptor_is_asked_for_once)
{
	struct fake *f = fake_start();
	oc_client *c = fake_client(f, NULL);
	oc_ns *ns = fake_ns(c);
	ino_t inode;
	int fd;

	CHECK_INT(region_descriptor_kept(c, FAKE_OTHER, &fd), ==, -EAGAIN);
	seal_and_pin(f, ns, 1, 5);
	CHECK_INT(region_descriptor_kept(c, FAKE_OTHER, &fd), ==, -EAGAIN);
	inode = ask(c);
	CHECK_INT(inode, ==, inode_of(f->slab[FAKE_OTHER].data.fd));
	f->mute_socket = true;
	CHECK_INT(ask(c), ==, inode);
	CHECK_OK(region_descriptor_kept(c, FAKE_OTHER, &fd));
	CHECK_INT(inode_of(fd), ==, inode);
	close(fd);
	oc_ns_close(ns);
	oc_client_close(c);
	fake_stop(f);
}

/* Another slab of the same number: never the old one's memory. */
TEST(fake_a_descriptor_goes_with_its_slab)
{
	struct fake *f = fake_start();
	oc_client *c = fake_client(f, NULL);
	oc_ns *ns = fake_ns(c);
	ino_t inode;
	int fd;

	seal_and_pin(f, ns, 1, 5);
	inode = ask(c);
	pthread_mutex_lock(&f->lock);
	fake_slab_retire(f, FAKE_OTHER);
	CHECK_INT(region_descriptor_kept(c, FAKE_OTHER, &fd), ==, -EAGAIN);
	fake_slab_make(f, FAKE_OTHER, FAKE_FRAMES, 0);
	CHECK_INT(region_descriptor_kept(c, FAKE_OTHER, &fd), ==, -EAGAIN);
	pthread_mutex_unlock(&f->lock);
	seal_and_pin(f, ns, 2, 9);
	CHECK(ask(c) == inode_of(f->slab[FAKE_OTHER].data.fd));
	CHECK(ask(c) != inode);
	oc_ns_close(ns);
	oc_client_close(c);
	fake_stop(f);
}
