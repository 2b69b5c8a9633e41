/* server.h: a server: its listeners, what it does when it cannot accept, its connections, and its end.

   - A listener waits for readiness, it accepts in the batch: so nothing is taken from the kernel's queue that nobody is there
     for, and what stays there is found again.
   - All that a server does, it does in its turn, one entry of the batch, which whatever happens to it only queues.
   - A listener that is not to accept now is out of the kernel's set: connections that come meanwhile wake nobody.
   - A connection is in the list until its socket is closed and its task, if it has one, has ended.
   - Who has come before the server closes in order is served: its connections are taken from the kernel's queue, which goes
     with the listener, and stand in `arrived` until the turn hands them out.
   - The loop holds a server until it is closed. */
#ifndef NP_SERVER_H
#define NP_SERVER_H

#include "core/lot.h"
#include "core/scope.h"
#include "sys/sock.h"

typedef struct np_listener {
    np_list link; /* in server->listeners; the one that was asked last is the last */
    np_op op;     /* waits for readiness */
    neap_server *server;
    neap_sock *sock; /* an outer reference */
    uint64_t device; /* of the file that was bound, if `file` */
    uint64_t inode;
    bool file;
} np_listener;

typedef struct np_conn {
    np_sock_owner owner; /* the socket's */
    np_list link;        /* in server->conns, in order of acceptance */
    np_waiter waiter;    /* for the end of the task */
    neap_server *server;
    neap_sock *
        sock; /* an inner reference, and while it has arrived an outer one; knows the peer, also when it is closed */
    neap_future *task; /* a reference, or NULL */
    uint64_t id;
    int64_t since;
} np_conn;

struct neap_server {
    np_obj obj;
    np_list link;             /* in loop->servers until it is closed */
    np_list starved;          /* in loop->starved while it lacks descriptors or memory */
    neap_handle *turn;        /* queued when there is something to do; NULL once it is closed */
    neap_handle *on_shutdown; /* an outer reference, or NULL */
    neap_scope *scope;        /* an outer reference */
    neap_future *members;     /* of the scope, while their end is waited for; a reference */
    np_waiter waiter;         /* for it */
    np_timer timer;           /* for the next look, or the next step of the end */
    np_list listeners;
    np_list arrived; /* connections that are not handed out yet, of a server that closes */
    np_list conns;
    np_lot acceptors; /* who waits for a connection */
    np_lot closers;   /* who waits for the end */

    neap_server_fn fn;
    void *user;
    neap_destroy_fn destroy;

    uint64_t max; /* connections; 0: any number */
    uint64_t open;
    uint64_t accepted;
    uint64_t shed;
    uint64_t shortages;
    uint64_t turns;
    int64_t backoff;
    int64_t short_at; /* when it last found that it lacks something */
    int64_t shed_at;  /* when it last closed connections for lack of descriptors */
    int64_t cancel_at;
    int64_t abort_at;
    int64_t cancel_grace;
    int64_t told; /* when the log was last told whom it waits for */
    char *reason;
    uint32_t batch;
    uint32_t flags; /* NEAP_SERVER_* */
    int spare;      /* a descriptor in reserve, or -1 */
    uint8_t state;  /* NEAP_SERVER_OPEN ... */
    bool paused;
};

/* ---- server.c */

int32_t np_server_enter(const neap_server *s);
void np_server_queue_turn(neap_server *s);

/* The address of its first listener, for texts. */
void np_server_name(const neap_server *s, char *buf, size_t cap);

/* Everything that it holds but its connections' sockets goes, and it is closed. */
void np_server_finish(neap_server *s);

/* ---- listen.c */

int32_t np_listeners_open(neap_server *s, const neap_addr *addrs, size_t n, int32_t backlog,
                          size_t *ret_failed);
int32_t np_listener_add(neap_server *s, neap_sock *sock);
void np_listener_close(np_listener *l);
void np_listeners_close(neap_server *s);

/* Out of the kernel's set, or back into it. */
void np_listeners_stall(neap_server *s);
int32_t np_listener_await(np_listener *l);

/* ---- accept.c */

void np_server_look(neap_server *s);
void np_server_feed(neap_server *s); /* who is short of it is not any more */

/* Takes who has come, for a server that is about to close. */
void np_server_take_last(neap_server *s);

/* Hands some of these out. */
void np_server_hand_out_last(neap_server *s);
void np_fd_freed(neap_loop *loop);

/* ---- conns.c */

np_conn *np_conn_new(neap_server *s);
void np_conn_free(np_conn *c); /* that was never added */
void np_conn_add(np_conn *c, neap_sock *sock);
np_conn *np_conn_of(const neap_sock *sock); /* NULL: no server's */
void np_conn_forget(np_conn *c);            /* leaves socket and task alone */
void np_conn_drop(np_conn *c);              /* of one that has arrived: closes it */
void np_conn_peer(const np_conn *c, neap_addr *ret_addr);

/* ---- server_end.c */

void np_server_go_on(neap_server *s);
int32_t np_server_begin_end(neap_server *s, int64_t grace, int64_t cancel_grace,
                            const char *reason);

#endif
