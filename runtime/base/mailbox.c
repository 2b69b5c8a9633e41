#include "base/mailbox.h"

void np_mailbox_init(np_mailbox *box, np_deliver_fn deliver) {
    box->deliver = deliver;
    pthread_mutex_init(&box->lock, NULL);
    atomic_init(&box->full, false);
    box->closed = false;
    box->draining = false;
    box->first = NULL;
    box->last = NULL;
}

void np_mailbox_fini(np_mailbox *box) {
    pthread_mutex_destroy(&box->lock);
}

void np_mailbox_reset(np_mailbox *box) {
    pthread_mutex_init(&box->lock, NULL);
}

static void append(np_mailbox *box, np_mail *mail) {
    mail->next = NULL;
    if (box->last != NULL)
        box->last->next = mail;
    else
        box->first = mail;
    box->last = mail;
    atomic_store_explicit(&box->full, true, memory_order_seq_cst);
}

static np_mail *take_locked(np_mailbox *box) {
    np_mail *chain = box->first;
    box->first = NULL;
    box->last = NULL;
    atomic_store_explicit(&box->full, false, memory_order_relaxed);
    return chain;
}

bool np_mailbox_put(np_mailbox *box, np_mail *mail) {
    pthread_mutex_lock(&box->lock);
    bool open = !box->closed;
    if (open)
        append(box, mail);
    pthread_mutex_unlock(&box->lock);
    return open;
}

/* Called with the lock held; returns with it free.  Delivering may put more mail, which this loop finds. */
static void drain_closed(np_mailbox *box) {
    box->draining = true;
    np_mail *chain;
    while ((chain = take_locked(box)) != NULL) {
        pthread_mutex_unlock(&box->lock);
        while (chain != NULL) {
            np_mail *mail = chain;
            chain = mail->next;
            box->deliver(mail, true);
        }
        pthread_mutex_lock(&box->lock);
    }
    box->draining = false;
    pthread_mutex_unlock(&box->lock);
}

void np_mailbox_put_always(np_mailbox *box, np_mail *mail) {
    pthread_mutex_lock(&box->lock);
    append(box, mail);
    if (box->closed && !box->draining)
        drain_closed(box);
    else
        pthread_mutex_unlock(&box->lock);
}

np_mail *np_mailbox_take(np_mailbox *box) {
    pthread_mutex_lock(&box->lock);
    np_mail *chain = take_locked(box);
    pthread_mutex_unlock(&box->lock);
    return chain;
}

void np_mailbox_close(np_mailbox *box) {
    pthread_mutex_lock(&box->lock);
    box->closed = true;
    if (box->draining)
        pthread_mutex_unlock(&box->lock);
    else
        drain_closed(box);
}
