#include "sys/sys.h"

#include "base/fd.h"
#include "sys/listeners.h"
#include "sys/resolver.h"
#include "sys/sock.h"
#include "sys/file.h"
#include "sys/sock.h"

void np_sys_fd_freed(neap_loop *loop) {
    if (!np_list_empty(&loop->starved))
        loop->fd_freed(loop);
}

void np_sys_close(neap_loop *loop, int fd) {
    np_fd_close(fd);
    if (fd >= 0)
        np_sys_fd_freed(loop);
}

static void close_all(neap_loop *loop) {
    while (!np_list_empty(&loop->socks)) {
        neap_sock *s = np_container(loop->socks.next, neap_sock, link);
        np_obj_ref(&s->obj);
        np_sock_shut(s);
        np_obj_unref(&s->obj);
    }
    np_file_close_all(loop);
    np_watch_close_all(loop);
    np_signal_close_all(loop);
    np_resolver_close(loop);
    np_pools_close_all(loop);
    np_share_detach(loop);
    np_process_close_all(loop);
}

void np_sys_attach(neap_loop *loop) {
    loop->close_sys = close_all;
    loop->on_signals = np_signals_arrived;
}
