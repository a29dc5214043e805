/* SPDX-License-Identifier: GPL-2.0 */
/* The calls that kcov.c wraps, by the names that --wrap gives them. */
#ifndef KCOV_H
#define KCOV_H

int __real_ioctl(int fd, unsigned long cmd, ...);
int __real_poll(struct pollfd *p, nfds_t n, int timeout);
int __real_close(int fd);
ssize_t __real_read(int fd, void *to, size_t n);

#endif
