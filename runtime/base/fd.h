/* fd.h: plain calls on descriptors and addresses; no loop.  All return 0 or a count, or -errno. */
#ifndef NP_FD_H
#define NP_FD_H

#include <sys/socket.h>

#include "base.h"

int np_fd_prepare(int fd); /* sets non-blocking and close-on-exec */
void np_fd_close(int fd);  /* keeps errno, ignores EINTR (Linux has closed it); fd may be -1 */
int np_fd_poll(int fd, short events);         /* events of poll(2) that are there now */
int np_fd_arm(int timer_fd, int64_t when_ns); /* a timerfd of the monotonic clock; NP_NEVER: not */
int np_fd_spare(void); /* a descriptor that only takes its place, or -errno */
int np_fd_set_int(int fd, int level, int name, int value);
int np_fd_get_int(int fd, int level, int name, int *ret_value);

/* Between neap_addr and the system's form. */
const struct sockaddr *np_addr_raw(const neap_addr *addr, socklen_t *ret_len);
const char *np_addr_path(const neap_addr *addr); /* of a Unix socket in the file system, or NULL */
bool np_addr_wants_port(const neap_addr *addr);  /* an IP address whose port the kernel chooses */
void np_addr_set_port(neap_addr *addr, int32_t port); /* of an IP address */
void np_addr_from_raw(neap_addr *addr, const struct sockaddr_storage *raw, socklen_t len);
void np_addr_filled(neap_addr *addr, size_t len); /* the kernel wrote so much into its data */

#endif
