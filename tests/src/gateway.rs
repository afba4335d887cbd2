//! Routers that open ports when asked (NAT-PMP, UPnP), as much of them as a client sees. The ports they open are real: they are
//! rules of the site's router.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::netns::{Host, Site};

/// How often a server looks whether it should end.
const TICK: Duration = Duration::from_millis(50);
/// Where the UPnP router's pages are.
const PAGES: u16 = 5_000;

/// External ports, and where each leads.
type Ports = BTreeMap<u16, SocketAddrV4>;

/// A router's service.
#[derive(Debug)]
pub struct Gateway {
    ports: Arc<Mutex<Ports>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What the servers share.
#[derive(Clone)]
struct Service {
    router: Host,
    lan: Ipv4Addr,
    wan: Ipv4Addr,
    ports: Arc<Mutex<Ports>>,
    stop: Arc<AtomicBool>,
}

impl Gateway {
    /// NAT-PMP (RFC 6886); PCP is refused as the RFC says.
    ///
    /// # Panics
    /// When the router cannot be used.
    #[must_use]
    pub fn nat_pmp(site: &Site) -> Self {
        let service = Service::new(site);
        let socket =
            service.router.inside(|| UdpSocket::bind((service.lan, 5_351))).expect("the port is free");
        Self::run(&service, vec![server(&service, move |service| service.serve_nat_pmp(&socket))])
    }

    /// UPnP's Internet Gateway Device, version 1.
    ///
    /// # Panics
    /// When the router cannot be used.
    #[must_use]
    pub fn upnp(site: &Site) -> Self {
        let service = Service::new(site);
        let (search, pages) = service.router.inside(|| {
            let search = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1_900)).expect("the port is free");
            search.join_multicast_v4(&Ipv4Addr::new(239, 255, 255, 250), &service.lan).expect("a group");
            (search, TcpListener::bind((service.lan, PAGES)).expect("the port is free"))
        });
        let search = server(&service, move |service| service.serve_search(&search));
        let pages = server(&service, move |service| service.serve_pages(&pages));
        Self::run(&service, vec![search, pages])
    }

    fn run(service: &Service, threads: Vec<JoinHandle<()>>) -> Self {
        Self { ports: Arc::clone(&service.ports), stop: Arc::clone(&service.stop), threads }
    }

    /// The ports that are open now, and where they lead.
    #[must_use]
    pub fn ports(&self) -> BTreeMap<u16, SocketAddrV4> {
        lock(&self.ports).clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock(ports: &Mutex<Ports>) -> MutexGuard<'_, Ports> {
    ports.lock().unwrap_or_else(PoisonError::into_inner)
}

fn server(service: &Service, run: impl FnOnce(&Service) + Send + 'static) -> JoinHandle<()> {
    let service = service.clone();
    thread::spawn(move || run(&service))
}

impl Service {
    fn new(site: &Site) -> Self {
        let router = site.router().clone();
        router.rules("add chain ip felund mapped { type nat hook prerouting priority dstnat; }");
        Self {
            lan: site.gateway(),
            wan: site.public_address(),
            router,
            ports: Arc::default(),
            stop: Arc::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn set(&self, external: u16, to: Option<SocketAddrV4>) {
        let mut ports = lock(&self.ports);
        match to {
            Some(to) => ports.insert(external, to),
            None => ports.remove(&external),
        };
        let mut rules = "flush chain ip felund mapped".to_owned();
        for (external, to) in ports.iter() {
            rules += &format!("; add rule ip felund mapped iifname wan tcp dport {external} dnat to {to}");
        }
        self.router.rules(&rules);
    }

    fn serve_nat_pmp(&self, socket: &UdpSocket) {
        socket.set_read_timeout(Some(TICK)).expect("a timeout");
        let mut request = [0; 1_100];
        while !self.is_over() {
            let Ok((len, from)) = socket.recv_from(&mut request) else { continue };
            let std::net::IpAddr::V4(client) = from.ip() else { continue };
            let mut answer = vec![0, request[1] | 0x80, 0, 0, 0, 0, 0, 1];
            match request[..len] {
                [0, 0] => answer.extend(self.wan.octets()),
                [0, 2, _, _, i1, i2, e1, e2, ref lifetime @ ..] => {
                    let (internal, wanted) = (u16::from_be_bytes([i1, i2]), u16::from_be_bytes([e1, e2]));
                    if lifetime == [0; 4] {
                        let mapped = lock(&self.ports)
                            .iter()
                            .find(|(_, to)| **to == SocketAddrV4::new(client, internal))
                            .map(|(external, _)| *external);
                        mapped.into_iter().for_each(|external| self.set(external, None));
                    } else {
                        self.set(wanted, Some(SocketAddrV4::new(client, internal)));
                    }
                    answer.extend([i1, i2, e1, e2]);
                    answer.extend(lifetime);
                }
                // Unsupported version: this one speaks version 0.
                _ => answer[3] = 1,
            }
            let _ = socket.send_to(&answer, from);
        }
    }

    fn serve_search(&self, socket: &UdpSocket) {
        socket.set_read_timeout(Some(TICK)).expect("a timeout");
        let mut request = [0; 2_048];
        while !self.is_over() {
            let Ok((len, from)) = socket.recv_from(&mut request) else { continue };
            if request[..len].starts_with(b"M-SEARCH") {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
                     LOCATION: http://{}:{PAGES}/device.xml\r\n\r\n",
                    self.lan
                );
                let _ = socket.send_to(answer.as_bytes(), from);
            }
        }
    }

    fn serve_pages(&self, listener: &TcpListener) {
        listener.set_nonblocking(true).expect("a listener");
        while !self.is_over() {
            match listener.accept() {
                Ok((stream, _)) => {
                    // A client that goes away has no answer to wait for.
                    let _ = self.serve_page(&stream);
                }
                Err(_) => thread::sleep(TICK),
            }
        }
    }

    fn serve_page(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            let header = line.to_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body);
        let answer = match first.split(' ').nth(1) {
            Some("/device.xml") => DEVICE.to_owned(),
            Some("/service.xml") => service_page(),
            _ => self.carry_out(&body),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            answer.len()
        );
        stream.write_all((head + &answer).as_bytes())
    }

    fn carry_out(&self, body: &str) -> String {
        let value = |name: &str| {
            let after = body.split_once(&format!("<{name}>"))?.1;
            Some(after.split_once('<')?.0.to_owned())
        };
        let number = |name: &str| value(name).and_then(|value| value.parse().ok()).unwrap_or(0_u16);
        let (action, result) = if body.contains("GetExternalIPAddress") {
            let ip = format!("<NewExternalIPAddress>{}</NewExternalIPAddress>", self.wan);
            ("GetExternalIPAddress", ip)
        } else if body.contains("DeletePortMapping") {
            self.set(number("NewExternalPort"), None);
            ("DeletePortMapping", String::new())
        } else {
            let client = value("NewInternalClient").and_then(|client| client.parse().ok());
            let client = client.unwrap_or(Ipv4Addr::UNSPECIFIED);
            let to = SocketAddrV4::new(client, number("NewInternalPort"));
            self.set(number("NewExternalPort"), Some(to));
            ("AddPortMapping", String::new())
        };
        format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
             <u:{action}Response xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\">{result}\
             </u:{action}Response></s:Body></s:Envelope>"
        )
    }
}

const DEVICE: &str = r#"<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<SCPDURL>/service.xml</SCPDURL><controlURL>/control</controlURL><eventSubURL>/events</eventSubURL>
</service></serviceList></device></deviceList></device></deviceList></device></root>"#;

fn service_page() -> String {
    let action = |name: &str, arguments: &[&str]| {
        let argument =
            |name: &&str| format!("<argument><name>{name}</name><direction>in</direction></argument>");
        let arguments: String = arguments.iter().map(argument).collect();
        format!("<action><name>{name}</name><argumentList>{arguments}</argumentList></action>")
    };
    let place = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];
    let rest = [
        "NewInternalPort",
        "NewInternalClient",
        "NewEnabled",
        "NewPortMappingDescription",
        "NewLeaseDuration",
    ];
    format!(
        "<?xml version=\"1.0\"?><scpd xmlns=\"urn:schemas-upnp-org:service-1-0\"><actionList>{}{}{}</actionList></scpd>",
        action("GetExternalIPAddress", &[]),
        action("AddPortMapping", &[&place[..], &rest].concat()),
        action("DeletePortMapping", &place)
    )
}
