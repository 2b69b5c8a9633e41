/* thread.h: which thread this is, told by an address that no other living thread has: pthread_self is a call. */
#ifndef NP_THREAD_H
#define NP_THREAD_H

typedef const char *np_thread;

extern _Thread_local char np_thread_byte;

static inline np_thread np_thread_self(void) {
    return &np_thread_byte;
}

#endif
