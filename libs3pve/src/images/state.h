/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * state.h - what a node remembers of a volume it has open, beside its journal
 *
 *     STATE_DIR/UUID/volume     its name, whether it is active, and in which boot that was
 *     STATE_DIR/UUID/...        the journal, see volume/journal_file.h
 *
 * It is there before the volume is claimed, and until it is handed back.
 */
#ifndef IMAGES_STATE_H
#define IMAGES_STATE_H

#include "images/names.h"

struct state {
    char name[S3PVE_VOLUME_NAME];
    char incarnation[ROOT_INCARNATION];
    bool active;
};

#define STATE_UUID (2 * UUID_LEN + 1)
void state_uuid(const uint8_t uuid[UUID_LEN], char text[STATE_UUID]);

/* Survives the node.  Return: 0, or -1 (NO_SPACE, IO). */
int state_write(
    const char *dir, const char *uuid, const struct state *state, struct s3pve_error *err
);
/* Return: 0, or -1 (NOT_FOUND, CORRUPT, IO). */
int state_read(const char *dir, const char *uuid, struct state *ret_state, struct s3pve_error *err);

/* Is there a journal?  Then it may have what the bucket does not. */
bool state_has_journal(const char *dir, const char *uuid);

/* All of it but journals that were set aside; nothing, if the volume is open. */
void state_remove(const char *dir, const char *uuid);

/* The same, but a journal that may have what the bucket does not gets another name.  Return:
 * whether there was one. */
bool state_set_aside(const char *dir, const char *uuid);
/* Journals that were set aside so long ago go. */
void state_purge(const char *dir, const char *uuid, unsigned days);

/* Each folder of a volume.  Return: 0, or -1 (IO), or what each() returned other than 0. */
int state_each(
    const char *dir, int (*each)(void *ctx, const char *uuid), void *ctx, struct s3pve_error *err
);

#endif
