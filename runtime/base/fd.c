#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

int np_fd_prepare(int fd) {
    int fl = fcntl(fd, F_GETFL);
    if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0)
        return -errno;
    int fdfl = fcntl(fd, F_GETFD);
    if (fdfl < 0 || fcntl(fd, F_SETFD, fdfl | FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

void np_fd_close(int fd) {
    int saved = errno;
    if (fd >= 0)
        (void)close(fd);
    errno = saved;
}

int np_fd_poll(int fd, short events) {
    struct pollfd p = {fd, events, 0};
    int n;
    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (p.revents & POLLNVAL) != 0 ? -EBADF : p.revents;
}

int np_fd_arm(int timer_fd, int64_t when_ns) {
    struct itimerspec its = {0};
    if (when_ns != NP_NEVER) {
        int64_t when = when_ns > 0 ? when_ns : 1; /* 0 would disarm */
        its.it_value.tv_sec = when / NP_NS_PER_S;
        its.it_value.tv_nsec = when % NP_NS_PER_S;
    }
    return timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &its, NULL) < 0 ? -errno : 0;
}

int np_fd_spare(void) {
    int fd = eventfd(0, EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int np_fd_set_int(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

int np_fd_get_int(int fd, int level, int name, int *ret_value) {
    int value = 0;
    socklen_t len = sizeof value;
    if (getsockopt(fd, level, name, &value, &len) < 0)
        return -errno;
    *ret_value = value;
    return 0;
}
