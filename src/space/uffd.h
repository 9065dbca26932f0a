/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings at fixed addresses, and the kernel's way of telling of touches
 * (userfaultfd). Each passes a fault point.
 *
 * All by plain system calls where an address is replaced that others may be
 * reading: that is what is wanted, and a thread sanitizer takes mmap() for a
 * write.
 */
#ifndef ONECOPY_SPACE_UFFD_H
#define ONECOPY_SPACE_UFFD_H

#include "base/compiler.h"

struct uffd_fault {
	uintptr_t address;
	bool write, protected; /* a write; of what was there */
};

/* Opens one for touches of this process alone. First the system call, which
 * needs no privilege for that where the kernel allows it at all, then
 * /dev/userfaultfd. 0, -errno; -EOPNOTSUPP: the kernel is too old for what is
 * needed. */
int uffd_open(int *ret_fd);
/* Touches of [at, at + bytes) that have no page, and writes to what is armed. */
int uffd_register(int fd, void *at, uint64_t bytes);
/* Pages, present or not, whose next write is told. */
int uffd_arm(int fd, void *at, uint64_t bytes);
/* Writes are told no more, and those who wait go on: the kernel copies pages. */
int uffd_disarm(int fd, void *at, uint64_t bytes);
int uffd_wake(int fd, void *at, uint64_t bytes);
/* Fills pages that have none; does not wake. Pages that are there stay. */
int uffd_copy(int fd, void *at, const void *from, uint64_t bytes);
int uffd_zero(int fd, void *at, uint64_t bytes);
/* Touches of pages that have none are SIGBUS; takes no mapping, and does not wake.
 * Since Linux 6.6; -errno before. */
int uffd_poison(int fd, void *at, uint64_t bytes);
/* Waits until there is one, at most so long. */
bool uffd_wait(int fd, int ms);
/* Up to n faults that wait; 0: none. Other events are taken and dropped. */
size_t uffd_read(int fd, struct uffd_fault *ret_faults, size_t n);

/* mmap() of addresses that are the caller's. prot, flags as there; fd -1:
 * anonymous. 0, -errno. */
int space_map_at(void *at, uint64_t bytes, int prot, int flags, int fd,
		 uint64_t offset);
/* Addresses of anonymous memory wherever; NULL with errno. */
void *space_map_anywhere(uint64_t bytes, int prot);
/* Moves a mapping of the same size in, in one step for those who touch there. */
int space_move_at(void *from, void *to, uint64_t bytes);
/* A child of fork() has nothing there. */
void space_not_in_child(void *at, uint64_t bytes);

#endif
