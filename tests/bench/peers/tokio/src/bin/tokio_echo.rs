//! tokio's echo on its scheduler of one thread: a task per connection.
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn serve(mut conn: TcpStream) {
    let mut buf = vec![0u8; 65536];
    let _ = conn.set_nodelay(true);
    loop {
        match conn.read(&mut buf).await {
            Ok(n) if n > 0 => {
                if conn.write_all(&buf[..n]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            if let Ok((conn, _)) = listener.accept().await {
                tokio::spawn(serve(conn));
            }
        }
    })
}
