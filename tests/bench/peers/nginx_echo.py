"""nginx_echo.py DIRECTORY ROOT: becomes an nginx of one process that runs nginx_echo.lua.

It keeps its files in the directory; the Lua module lies in the root, `/` or where its packages were
unpacked.

nginx prints no port, so a process of its own does that once nginx listens."""

import os
import socket
import sys
import time

CONFIG = """load_module {root}/usr/lib/nginx/modules/ndk_http_module.so;
load_module {root}/usr/lib/nginx/modules/ngx_http_lua_module.so;
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
worker_rlimit_nofile {files};
events {{ use epoll; multi_accept on; worker_connections {connections}; }}
http {{
    access_log off;
    tcp_nodelay on;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    lua_package_path "{root}/usr/share/lua/5.1/?.lua;;";
    lua_socket_log_errors off;
    lua_socket_buffer_size 64k;
    lua_code_cache on;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ content_by_lua_file {script}; }}
    }}
}}
"""

prefix, root = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]).rstrip("/")
script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nginx_echo.lua")
files = os.sysconf("SC_OPEN_MAX")
with socket.create_server(("127.0.0.1", 0)) as listener:
    port = listener.getsockname()[1]
os.makedirs(prefix, exist_ok=True)
with open(os.path.join(prefix, "nginx.conf"), "w", encoding="utf-8") as f:
    f.write(CONFIG.format(port=port, script=script, files=files, root=root,
                          connections=min(files, 16384)))


def announce():
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            print(port, flush=True)
            return
        except ConnectionRefusedError:
            time.sleep(0.01)


if os.fork() == 0:
    if os.fork() == 0:
        announce()
    os._exit(0)
os.wait()
if root:
    os.environ["LD_LIBRARY_PATH"] = f"{root}/usr/lib/x86_64-linux-gnu"
os.execv("/usr/sbin/nginx", ["nginx", "-p", prefix, "-c", "nginx.conf", "-e", "stderr"])
