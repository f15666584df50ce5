/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* mem3_list.h - listings of the store in memory, all in one page; mem3.h includes it */
#ifndef MEM3_LIST_H
#define MEM3_LIST_H

#include "mem3.h"

int s3pve_list_open(
    struct s3pve_client *client,
    const char *prefix,
    const char *delimiter,
    const char *start,
    struct s3pve_list **ret_list,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    struct s3pve_list *list;

    if (mem3_enter("list", call, err) < 0)
        return -1;
    mem3.counters.n_list++;
    pthread_mutex_unlock(&mem3.lock);
    list = calloc(1, sizeof(*list));
    snprintf(list->prefix, sizeof(list->prefix), "%s", prefix);
    snprintf(list->delimiter, sizeof(list->delimiter), "%s", delimiter ? delimiter : "");
    if (start && !mem3.no_list_start)
        snprintf(list->last, sizeof(list->last), "%s", start);
    *ret_list = list;
    return 0;
}

int s3pve_list_next(
    struct s3pve_list *list, struct s3pve_entry *ret_entry, struct s3pve_error *err
) {
    static __thread char key[1100];
    void (*on_list)(void);
    bool found;

    if (list->n_made_up < mem3.n_made_up) {
        snprintf(key, sizeof(key), "%.1000smade-up-%u", list->prefix, list->n_made_up++);
        *ret_entry = (struct s3pve_entry){.key = key, .info = {.etag = "made-up"}};
        return 1;
    }
    pthread_mutex_lock(&mem3.lock);
    for (size_t i = mem3_find(list->last, &found); i < mem3.n_objects; i++) {
        const struct mem3_object *object = &mem3.objects[i];
        size_t skip = strlen(list->prefix);
        const char *slash;

        if (strncmp(object->key, list->prefix, skip) != 0)
            continue;
        slash = *list->delimiter ? strstr(object->key + skip, list->delimiter) : NULL;
        snprintf(
            key,
            sizeof(key),
            "%.*s",
            slash ? (int)(slash - object->key) + 1 : (int)strlen(object->key),
            object->key
        );
        if (strcmp(key, list->last) <= 0)
            continue;
        strcpy(list->last, key);
        *ret_entry = (struct s3pve_entry){.key = list->last, .is_prefix = slash != NULL};
        if (!slash)
            mem3_info(object, &ret_entry->info);
        if (mem3.other_list_etag && !slash)
            snprintf(ret_entry->info.etag, sizeof(ret_entry->info.etag), "L%s", object->etag);
        if (mem3.no_list_etag)
            ret_entry->info.etag[0] = '\0';
        pthread_mutex_unlock(&mem3.lock);
        return 1;
    }
    pthread_mutex_unlock(&mem3.lock);
    on_list = mem3.on_list;
    if (on_list)
        on_list();
    if (mem3.list_delay_ms)
        mem3_sleep(mem3.list_delay_ms, NULL);
    return 0;
}

struct s3pve_list *s3pve_list_close(struct s3pve_list *list) {
    free(list);
    return NULL;
}

int s3pve_bucket_check(
    struct s3pve_client *client, const struct s3pve_call *call, struct s3pve_error *err
) {
    if (mem3_enter("check", call, err) < 0)
        return -1;
    mem3.counters.n_list++;
    pthread_mutex_unlock(&mem3.lock);
    return 0;
}

int s3pve_bucket_usage(
    struct s3pve_client *client,
    uint64_t *ret_objects,
    uint64_t *ret_bytes,
    const struct s3pve_call *call,
    struct s3pve_error *err
) {
    if (mem3_enter("usage", call, err) < 0)
        return -1;
    mem3.counters.n_list++;
    *ret_objects = mem3.n_objects;
    *ret_bytes = 0;
    for (size_t i = 0; i < mem3.n_objects; i++)
        *ret_bytes += mem3.objects[i].len;
    pthread_mutex_unlock(&mem3.lock);
    return 0;
}

#endif
