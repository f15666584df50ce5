/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/creds.h"
#include "tap.h"

static char path[] = "/tmp/s3pve-creds-XXXXXX";

static struct config resolve(const char *const *options) {
    struct s3pve_config *settings = s3pve_config_new();
    struct config config = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    s3pve_config_set(settings, "endpoint", "minio.lan", NULL);
    s3pve_config_set(settings, "bucket", "backups", NULL);
    for (; options[0]; options += 2)
        is_int(
            s3pve_config_set(settings, options[0], options[1], NULL), 0, "%s is set", options[0]
        );
    is_int(config_resolve(settings, &config, &err), 0, "resolved %s", err.message);
    s3pve_config_free(settings);
    return config;
}

static void write_file(const char *text) {
    FILE *file = fopen(path, "we");

    ok(file && fputs(text, file) >= 0 && fclose(file) == 0, "wrote a credentials file");
    chmod(path, 0600);
}

static const struct {
    const char *what;
    const char *options[8];
    const char *file;
    const char *access, *secret, *token; /* access NULL: fails, secret: with this */
} cases[] = {
    {"keys from the options",
     {"access-key", "AK", "secret-key", "SK", "session-token", "T"},
     NULL,
     "AK",
     "SK",
     "T"},
    {"a secret that the file adds",
     {"access-key", "AK", "credentials-file", path},
     "secret-key = FSK\n",
     "AK",
     "FSK",
     ""},
    {"options that win over the file by default",
     {"access-key", "AK", "secret-key", "SK", "credentials-file", path},
     "access-key = FAK\nsecret-key = FSK\n",
     "AK",
     "SK",
     ""},
    {"a file that wins when it is asked for",
     {"access-key", "AK", "credentials", "file", "credentials-file", path},
     "access-key = FAK\nsecret-key = FSK\nsession-token = FT\nregion = eu\n",
     "FAK",
     "FSK",
     "FT"},
    {"AWS's format",
     {"credentials-file", path},
     "[default]\naws_access_key_id = FAK\naws_secret_access_key = FSK\noutput = json\n",
     "FAK",
     "FSK",
     ""},
    {"a file without a secret",
     {"access-key", "AK", "credentials-file", path},
     "region = eu\n",
     NULL,
     "secret-key: not in",
     NULL},
    {"a file with a broken secret",
     {"access-key", "AK", "credentials-file", path},
     "secret-key = hunter2 hunter2\n",
     NULL,
     "line 1: secret-key: has a space",
     NULL},
    {"a missing file",
     {"access-key", "AK", "credentials-file", "/nonexistent/x"},
     NULL,
     NULL,
     "/nonexistent/x: No such file",
     NULL},
    {"an empty environment", {"credentials", "env"}, NULL, NULL, "in the environment", NULL},
};

static void sources_are_combined(void) {
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_(config_clear) struct config config = resolve(cases[i].options);
        _cleanup_(creds_clear) struct creds creds = {0};
        struct s3pve_error err = S3PVE_ERROR_INIT;
        int rc;

        if (cases[i].file)
            write_file(cases[i].file);
        rc = creds_load(&config, &creds, &err);
        is_int(rc, cases[i].access ? 0 : -1, "%s %s", cases[i].what, err.message);
        ok(!strstr(err.message, "hunter2"), "... no secret is told");
        if (!cases[i].access) {
            ok(strstr(err.message, cases[i].secret), "... %s", cases[i].secret);
            continue;
        }
        is_str(creds.access_key, cases[i].access, "... the access key");
        is_str(creds.secret_key, cases[i].secret, "... the secret key");
        is_str(creds.token, cases[i].token, "... the token");
        ok(!creds.anonymous && creds.expires_s == 0, "... for good");
    }
}

static void a_readable_file_is_refused(void) {
    const char *options[] = {"access-key", "AK", "credentials-file", path, NULL};
    _cleanup_(config_clear) struct config config = resolve(options);
    struct creds creds = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    write_file("secret-key = SK\n");
    chmod(path, 0644);
    is_int(creds_load(&config, &creds, &err), -1, "a file that others may read is refused");
    ok(strstr(err.message, "chmod 600"), "... %s", err.message);
    ok(!creds.access_key, "... and nothing is returned");
}

static void environment_and_anonymous(void) {
    const char *env[] = {"credentials", "env", NULL};
    const char *nobody[] = {"credentials", "anonymous", NULL};
    _cleanup_(config_clear) struct config config = resolve(env);
    _cleanup_(creds_clear) struct creds creds = {0};

    setenv("AWS_ACCESS_KEY_ID", "EAK", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "ESK", 1);
    is_int(creds_load(&config, &creds, NULL), 0, "the environment is read when asked for");
    is_str(creds.access_key, "EAK", "... the access key");
    is_str(creds.secret_key, "ESK", "... and the secret");
    creds_clear(&creds);
    ok(!creds.access_key, "cleared credentials hold nothing");
    creds_clear(&creds);

    config_clear(&config);
    config = resolve(nobody);
    is_int(creds_load(&config, &creds, NULL), 0, "nobody needs no keys");
    ok(creds.anonymous, "... and sends no signature");
    is_str(creds.secret_key, "", "... nor has a secret");
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
}

/* A metadata service: one answer a connection, what was asked is noted. */
struct service {
    int fd;
    const char *bodies[3];
    char asked[3][1024];
    unsigned n;
};

static void *serve(void *ctx) {
    struct service *service = ctx;

    for (; service->n < 3 && service->bodies[service->n]; service->n++) {
        const char *body = service->bodies[service->n];
        int fd = accept(service->fd, NULL, NULL);
        char *asked = service->asked[service->n];
        size_t got = 0;
        ssize_t n;

        while (got < 1000 && !strstr(asked, "\r\n\r\n") &&
               (n = read(fd, asked + got, 1000 - got)) > 0)
            got += (size_t)n;
        dprintf(
            fd,
            "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
            strlen(body),
            body
        );
        close(fd);
    }
    return NULL;
}

static int ask_service(struct service *service, struct creds *ret_creds, struct s3pve_error *err) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    pthread_t thread;
    char url[64];
    int rc;

    service->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(service->fd, (struct sockaddr *)&address, len) < 0 || listen(service->fd, 4) < 0 ||
        getsockname(service->fd, (struct sockaddr *)&address, &len) < 0)
        skip_all("no loopback network");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    pthread_create(&thread, NULL, serve, service);
    rc = creds_load_imds(url, ret_creds, err);
    pthread_join(thread, NULL);
    close(service->fd);
    return rc;
}

static void roles_are_asked_for(void) {
    struct service service = {
        .bodies = {
            "TOKEN==",
            "my-role\nother\n",
            "{\"Code\":\"Success\",\"AccessKeyId\":\"RAK\",\"SecretAccessKey\":\"RSK\","
            "\"Token\":\"RT\",\"Expiration\":\"2030-01-01T00:00:00Z\"}",
        }};
    _cleanup_(creds_clear) struct creds creds = {0};
    struct s3pve_error err = S3PVE_ERROR_INIT;

    is_int(ask_service(&service, &creds, &err), 0, "a role's keys are found %s", err.message);
    ok(strncmp(service.asked[0], "PUT /latest/api/token ", 22) == 0, "a token is asked for first");
    ok(strstr(service.asked[0], "token-ttl-seconds: 21600"), "... for six hours");
    ok(strstr(service.asked[1], "X-aws-ec2-metadata-token: TOKEN=="), "it comes with the next");
    ok(strncmp(service.asked[2], "GET /latest/meta-data/iam/security-credentials/my-role ", 55) ==
           0,
       "the first role is taken");
    is_str(creds.access_key, "RAK", "the access key");
    is_str(creds.secret_key, "RSK", "the secret key");
    is_str(creds.token, "RT", "the token");
    is_int(creds.expires_s, 1893456000, "and when all that ends");
}

static const struct {
    const char *bodies[3];
    const char *why;
} odd[] = {
    {{"bad token"}, "odd token"},
    {{"T", "../../x"}, "odd role name"},
    {{"T", ""}, "odd role name"},
    {{"T", "r", "<html>"}, "no AccessKeyId"},
    {{"T", "r", "{\"AccessKeyId\":\"A\"}"}, "no SecretAccessKey"},
    {{"T", "r", "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hunter2\",\"Token\":7}"}, "no Token"},
    {{"T", "r", "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hunter2 x\",\"Token\":\"T\"}"},
     "space"},
    {{"T",
      "r",
      "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\",\"Expiration\":\"x\"}"},
     "odd Expiration"},
};

static void odd_services_are_refused(void) {
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct service service = {.bodies = {odd[i].bodies[0], odd[i].bodies[1], odd[i].bodies[2]}};
        struct creds creds = {0};
        struct s3pve_error err = S3PVE_ERROR_INIT;

        is_int(ask_service(&service, &creds, &err), -1, "odd service %zu is refused", i);
        ok(strstr(err.message, odd[i].why), "... %s", err.message);
        ok(!strstr(err.message, "hunter2"), "... without a secret");
        ok(!creds.access_key, "... and returns nothing");
    }
}

int main(void) {
    int fd = mkstemp(path);

    if (fd < 0)
        return 1;
    close(fd);
    unsetenv("AWS_ACCESS_KEY_ID");
    sources_are_combined();
    a_readable_file_is_refused();
    environment_and_anonymous();
    roles_are_asked_for();
    odd_services_are_refused();
    unlink(path);
    return done_testing();
}
